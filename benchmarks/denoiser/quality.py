"""Suite ``quality``: how close each denoiser comes to the noise-free image, beside other people's denoisers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from jaxtyping import Float

from benchmarks.denoiser.output import Row, dose_text, with_error
from benchmarks.denoiser.request import DENOISING_PEERS, Request
from benchmarks.denoiser.statistics import windowed_power
from benchmarks.denoiser.views import RECORDED, restored, view
from benchmarks.materials import Material
from benchmarks.peers.compare import compare
from benchmarks.peers.local import LOCAL, Local
from benchmarks.peers.runner import Peer
from benchmarks.peers.specimen import Specimen
from benchmarks.tables import Table
from library.store import EMBEDDED, Library
from microscopy.detector import SEGMENTED
from microscopy.micrograph import Micrograph, Modality
from microscopy.optics import Optics
from models.denoising.spectrum import frequencies

DOSES: Mapping[Modality, tuple[float, ...]] = {
    Modality.IDPC: (1e3, 1e4, 6e4),
    Modality.HAADF: (1e4, 1e5, 1e6),
}
"""e/Å². A monolayer of light elements scatters 10⁻⁵ to 10⁻⁴ of the beam onto a HAADF detector: at 10⁴ e/Å² an image
holds one electron in a hundred pixels, and below there is nothing to restore."""

BAND_PASS = "band-pass"

AS_USED = (RECORDED, "Gaussian", "non-local means", "tk_r_em", "BM3D")
"""Other people's denoisers as they come. None expects noise that grows towards low frequencies, as iDPC's does."""

INFORMED = (BAND_PASS, "BM3D-coloured")
"""Those told what everyone knows: where the lattice begins and the optics end, or the spectrum of the noise."""

BARS = {"as used": AS_USED, "informed too": (*AS_USED, *INFORMED)}
"""What a denoiser has to beat, fair in two senses."""

BEFORE_FIRST = 0.8
"""Share of the lowest reflection's frequency from which the band-pass begins."""

PREFIX = "denoiser "
"""Before the name of a denoiser that is measured, as other people's may be called the same."""


@dataclass(frozen=True, eq=False)
class Counted(Specimen):
    """A specimen of single electrons: most pixels hold none, and the median that others are told would be zero."""

    @cached_property
    def noise(self) -> float:
        """Standard deviation of white noise, from the mean power where the optics pass no signal."""
        return beyond_optics(self.micrograph) or super().noise


def beyond_optics(micrograph: Micrograph) -> float:
    """Standard deviation of white noise from the mean power where the optics pass no signal; 0 where they pass all."""
    assert micrograph.pixel_size is not None
    q, power = windowed_power(np.asarray(micrograph.image, dtype=float), micrograph.pixel_size)
    beyond = q > Optics.of(micrograph).cutoff
    return float(np.sqrt(power[beyond].mean())) if beyond.any() else 0.0


def rows(request: Request) -> Iterator[Row]:
    """One row an image and competitor."""
    library = Library.open(EMBEDDED)
    for modality in request.modalities:
        doses = request.doses or DOSES.get(modality, DOSES[Modality.IDPC])
        for side in request.sides or (512,):
            for dose in doses:
                make = partial(specimen, modality=modality, dose=dose, side=side, request=request, library=library)
                specimens = [make(material) for material in request.materials]
                for row in compare(specimens, request.cache / "peers", competitors=competitors(request)):
                    yield {"modality": str(modality), "side": side, **row}


def specimen(
    material: Material, *, modality: Modality, dose: float | None, side: int, request: Request, library: Library
) -> Specimen:
    """Noisy image of a material and the same without noise."""
    noisy = view(material, modality, dose, request.seed, request.cells, side=side)
    clean = view(material, modality, None, request.seed, request.cells, side=side)
    kind = Specimen if modality in SEGMENTED else Counted
    return kind(material.id, noisy.micrograph, clean.micrograph.image, noisy.truth, library)


def competitors(request: Request) -> list[Peer | Local]:
    """Conventional filters, the peers asked for, and every denoiser."""
    filters = [each for each in LOCAL if each.kind == "denoise" and each.name in AS_USED]
    filters.append(Local(BAND_PASS, "denoise", band_pass))
    peers = [DENOISING_PEERS[name] for name in request.peers]
    ours = [Local(PREFIX + name, "denoise", partial(_denoised, name)) for name in request.denoisers]
    return [*filters, *peers, *ours]


def band_pass(specimen: Specimen) -> Float[np.ndarray, "H W"]:
    """Keep what lies between the first reflection and the limit of the optics, and nothing else."""
    image, pixel = np.asarray(specimen.micrograph.image, dtype=float), specimen.pixel_size
    reciprocal = np.linalg.inv(specimen.truth.cell).T
    combinations = np.array([(h, k) for h in range(-3, 4) for k in range(-3, 4) if (h, k) != (0, 0)])
    first = float(np.linalg.norm(combinations @ reciprocal, axis=1).min())
    height, width = image.shape
    q = frequencies((height, width), pixel)
    passed = (q >= BEFORE_FIRST * first) & (q <= Optics.of(specimen.micrograph).cutoff)
    return np.asarray(np.fft.irfft2(np.fft.rfft2(image) * passed, image.shape))


def _denoised(name: str, specimen: Specimen) -> np.ndarray:
    # What the user knows of the composition is no business of a denoiser.
    return restored(replace(specimen.micrograph, elements=None), name).image


def tables(found: Sequence[Row]) -> list[Table]:
    """Means with standard errors over images, and what each denoiser gains over the best of the conventional ones."""
    return [_fidelity(found), _gain(found)]


def _fidelity(found: Sequence[Row]) -> Table:
    cells = []
    for (modality, side, dose), group in _conditions(found).items():
        for name, own in _by_competitor(group).items():
            answered = [row for row in own if not row["problem"]]
            cells.append(
                (
                    modality,
                    str(side),
                    dose_text(dose),
                    name,
                    f"{len(answered)} of {len(own)}",
                    with_error([row["psnr"] for row in answered]),
                    with_error([row["ssim"] for row in answered], ".3f"),
                    with_error([row["structure_factor_error"] for row in answered], ".3f"),
                    with_error([row["seconds"] for row in answered]),
                )
            )
    columns = ("image", "side", "e/Å²", "by", "answered", "PSNR, dB", "SSIM", "structure-factor error", "seconds")
    note = (
        "Mean ± standard error over images. Edges of 16 pixels left out; every image scaled to the noise-free one by "
        "least squares. Seconds on one thread."
    )
    return Table("Fidelity", columns, tuple(cells), note)


def _gain(found: Sequence[Row]) -> Table:
    cells = []
    for (modality, side, dose), group in _conditions(found).items():
        named = {
            name: {row["id"]: row["psnr"] for row in own if not row["problem"]}
            for name, own in _by_competitor(group).items()
        }
        for bar, others in BARS.items():
            psnrs = {name: psnr for name, psnr in named.items() if name in others and psnr}
            best = max(psnrs, key=lambda name: float(np.mean(list(psnrs[name].values()))))
            for name in (each for each in named if each.startswith(PREFIX)):
                over = [value - psnrs[best][id] for id, value in named[name].items() if id in psnrs[best]]
                each = [v - max(psnr[id] for psnr in psnrs.values() if id in psnr) for id, v in named[name].items()]
                figures = (with_error(over), with_error(each), f"{min(each):.2f}" if each else "–")
                cells.append((modality, str(side), dose_text(dose), name, bar, best, *figures))
    columns = (
        "image",
        "side",
        "e/Å²",
        "by",
        "bar",
        "best of it",
        "over it, dB",
        "over the best of each image",
        "worst",
    )
    note = (
        f"Paired differences of PSNR, mean ± standard error. As used: {', '.join(AS_USED)}; informed too: also "
        f"{', '.join(INFORMED)}; as far as they answered. Over the best on average and, harder, of each image."
    )
    return Table("Gain over the best conventional denoiser", columns, tuple(cells), note)


def _conditions(found: Sequence[Row]) -> dict[tuple, list[Row]]:
    groups: dict[tuple, list[Row]] = {}
    for row in found:
        groups.setdefault((row["modality"], row["side"], row["dose"]), []).append(row)
    return groups


def _by_competitor(found: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in found:
        groups.setdefault(row["competitor"], []).append(row)
    return groups
