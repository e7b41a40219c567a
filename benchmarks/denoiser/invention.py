"""Suite ``invention``: whether a denoiser draws a lattice where there is none.

Noise of a vacuum and amorphous films are denoised. Without a lattice, power varies smoothly over the Fourier plane but
for the speckle of chance; a lattice has it in spots. The statistic is the largest ratio of power to what its
surroundings let expect, once of the whole image and once over overlapping windows, where a lattice that is only local
cannot average out. Its distribution without a lattice is that of Gaussian random fields with the smooth spectrum of the
denoised image itself (the same statistic of equally filtered noise), so that smoothing, of whatever strength and
direction, is no evidence. An alarm is a value that none of `SURROGATES` fields reaches: of an honest filter, one image
in a hundred. A filter that lets single Fourier pixels through raises alarms, and should: it draws fringes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.fft
from jaxtyping import Float
from scipy.ndimage import uniform_filter

from benchmarks.controls import PIXEL, SHAPE, amorphous
from benchmarks.denoiser.output import Row, with_error
from benchmarks.denoiser.request import Request
from benchmarks.denoiser.views import RECORDED, restored
from benchmarks.tables import Table, rate
from microscopy.detector import phase_gradient
from microscopy.errors import AutoMatError
from microscopy.integration import integrate_dpc
from microscopy.micrograph import Micrograph, Modality
from microscopy.optics import Optics
from models.denoising.spectrum import frequencies
from reconstruction.lattice import find_lattice
from reconstruction.spectrum import highest_frequency

SURROGATES = 99
ALPHA = 1 / (SURROGATES + 1)

WINDOW = 128
"""Pixels along the edge of a window, 12.8 Å: several cells of any lattice that would be taken for one."""

RING = 2.0
"""Width of a ring in Fourier pixels."""

LEAST = 5.0
"""Periods across the image below which power is background."""

NEIGHBOURHOOD = 15
"""Fourier pixels along the edge over which the spectrum is taken to be smooth; a spot of a lattice is three wide."""

SILENT = 1e-5
"""Expected power, relative to the strongest, below which nobody sees what is there."""

FLAT = 1e-4
"""Standard deviation, relative to the input's, below which an image holds nothing."""

COLLECTED = 0.9
"""Share of the beam that the four quadrants collect in a vacuum; scales the noise, which no result depends on."""


@dataclass(frozen=True)
class Noise:
    """A kind of image without a lattice.

    Attributes
    ----------
    modality, dose
        What the micrograph says of itself; e/Å².
    make
        Draws the image.
    """

    modality: Modality
    dose: float | None
    make: Callable[[np.random.Generator], np.ndarray]


def vacuum(dose: float, rng: np.random.Generator) -> Float[np.ndarray, "H W"]:
    """Integrate the noise of a vacuum, rad: counts of four quadrants, combined and integrated."""
    electrons = dose * PIXEL**2
    counts = rng.poisson(COLLECTED / 4 * electrons, size=(4, *SHAPE)) / electrons
    x, y = phase_gradient(counts, Optics())
    return np.asarray(integrate_dpc(y, x, (PIXEL, PIXEL))[0])


def dark_field(mean: float, rng: np.random.Generator) -> Float[np.ndarray, "H W"]:
    """Counts of an annular detector behind a featureless support, ``mean`` electrons a pixel."""
    return rng.poisson(mean, size=SHAPE)


KINDS: Mapping[str, Noise] = {
    **{f"vacuum, iDPC, {dose:g} e/Å²": Noise(Modality.IDPC, dose, partial(vacuum, dose)) for dose in (1e3, 1e4, 6e4)},
    **{
        f"counts, HAADF, {mean:g} a pixel": Noise(Modality.HAADF, None, partial(dark_field, mean))
        for mean in (0.03, 1.0, 30.0)
    },
    "amorphous film, iDPC": Noise(Modality.IDPC, None, amorphous),
    "amorphous film, HAADF": Noise(Modality.HAADF, None, amorphous),
}


def spots(images: Float[np.ndarray, "B H W"]) -> Float[np.ndarray, " B"]:
    """Largest power over its expectation, of each image; without a lattice about the logarithm of the pixels."""
    power, floor = _spectrum(images)
    q = _frequencies(images.shape[-2:])
    counts = (q >= LEAST) & (q < 0.5 * min(images.shape[-2:]))
    loud = floor > SILENT * np.where(counts, floor, 0).max(axis=(-2, -1), keepdims=True)
    return np.asarray(np.where(counts & loud, power / floor, 0).max(axis=(-2, -1)))


def spot(image: Float[np.ndarray, "H W"]) -> float:
    """`spots` of the whole image."""
    return float(spots(image[None])[0])


def local_spot(image: Float[np.ndarray, "H W"], side: int = WINDOW) -> float:
    """`spots` of the worst of the half-overlapping windows."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (side, side))[:: side // 2, :: side // 2]
    return float(spots(windows.reshape(-1, side, side)).max())


def surrogate(image: Float[np.ndarray, "H W"], rng: np.random.Generator) -> Float[np.ndarray, "H W"]:
    """A Gaussian random field with the smooth spectrum of an image."""
    floor = _spectrum(image[None])[1][0]
    return np.asarray(scipy.fft.irfft2(scipy.fft.rfft2(rng.standard_normal(image.shape)) * np.sqrt(floor), image.shape))


def alarm(
    statistic: Callable[[np.ndarray], float],
    image: Float[np.ndarray, "H W"],
    rng: np.random.Generator,
    count: int = SURROGATES,
) -> bool:
    """Whether a statistic of an image exceeds that of every one of ``count`` fields without a lattice."""
    observed = statistic(image)
    return all(statistic(surrogate(image, rng)) < observed for _ in range(count))  # stops at the first that reaches it


def _frequencies(shape: tuple[int, ...]) -> Float[np.ndarray, "H K"]:
    """Periods across the shorter side."""
    return frequencies((shape[0], shape[1])) * min(shape)


def _spectrum(images: Float[np.ndarray, "B H W"]) -> tuple[Float[np.ndarray, "B H K"], Float[np.ndarray, "B H K"]]:
    """Windowed power of each image, and what it is expected to be where it varies smoothly.

    The expectation is a geometric mean, which a few spots hardly move: first over rings, which takes out what is steep,
    then over `NEIGHBOURHOOD`, which follows filters that are not isotropic.
    """
    height, width = images.shape[-2:]
    window = (np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[None, 1:-1]).astype(np.float32)
    values = images - images.mean(axis=(-2, -1), keepdims=True, dtype=float)  # before single precision loses it
    spread = np.maximum(values.std(axis=(-2, -1), keepdims=True), np.finfo(np.float32).tiny)
    values = (values / spread).astype(np.float32)
    values = values - (values * window).sum(axis=(-2, -1), keepdims=True) / window.sum()
    power = np.abs(scipy.fft.rfft2(values * window)) ** 2
    logs = np.log(np.maximum(power, np.finfo(np.float32).tiny))
    q = _frequencies((height, width))
    bins = (q / RING).astype(int)
    sizes = np.bincount(bins.ravel())
    centres = np.log((np.arange(len(sizes)) + 0.5) * RING)
    at = np.log(np.maximum(q, RING / 2))
    means = [np.bincount(bins.ravel(), each.ravel()) / np.maximum(sizes, 1) for each in logs]
    rings = np.stack([np.interp(at, centres, mean) for mean in means])
    smooth = rings + uniform_filter(
        logs - rings, size=(1, NEIGHBOURHOOD, NEIGHBOURHOOD), mode=("nearest", "wrap", "mirror")
    )
    return power, np.exp(smooth + np.euler_gamma)


def rows(request: Request) -> Iterator[Row]:
    """One row an image and denoiser."""
    for kind, noise in KINDS.items():
        if noise.modality not in request.modalities:
            continue
        for number in range(request.tries):
            image = np.asarray(noise.make(np.random.default_rng([request.seed, number])), dtype=np.float32)
            micrograph = Micrograph(
                image, (PIXEL, PIXEL), "", f"{kind} {number}", modality=noise.modality, dose=noise.dose
            )
            for name in (RECORDED, *request.denoisers):
                yield {"kind": kind, "number": number, "by": name, **judged(micrograph, name, request.seed)}


def judged(micrograph: Micrograph, name: str, seed: int) -> Row:
    """What a denoiser made of an image without a lattice."""
    try:
        denoised = restored(micrograph, name)
    except AutoMatError as error:
        return {"problem": str(error)}
    left = float(denoised.image.std(dtype=float) / micrograph.image.std(dtype=float))
    if left < FLAT:
        return {"left": left, "whole": False, "local": False, "found": False, "problem": ""}
    return {
        "left": left,
        "spot": spot(denoised.image),
        "local_spot": local_spot(denoised.image),
        "whole": alarm(spot, denoised.image, np.random.default_rng([seed, 0])),
        "local": alarm(local_spot, denoised.image, np.random.default_rng([seed, 1])),
        "found": find_lattice(denoised, highest_frequency(denoised)) is not None,
        "problem": "",
    }


def tables(found: Sequence[Row]) -> list[Table]:
    """False alarms by kind of noise and denoiser."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in found:
        groups.setdefault((row["kind"], row["by"]), []).append(row)
    cells = []
    for (kind, by), group in groups.items():
        own = [row for row in group if not row["problem"]]
        cells.append(
            (
                kind,
                by,
                f"{len(own)} of {len(group)}",
                with_error([row["left"] for row in own], ".3f"),
                rate([row["whole"] for row in own]),
                rate([row["local"] for row in own]),
                rate([row["found"] for row in own]),
            )
        )
    columns = (
        "image",
        "by",
        "answered",
        "contrast left",
        "lattice, whole image, % (95 %)",
        "lattice, local, % (95 %)",
        "lattice found by the pipeline, % (95 %)",
    )
    note = (
        f"Alarms at {ALPHA:.0%} against {SURROGATES} Gaussian fields of the same smooth spectrum; a flat image raises "
        "none. Contrast left: standard deviation over that of the input. The pipeline's own lattice search expects "
        "noise as recorded, and denoised noise is not: its alarms say what denoising before measuring would cost."
    )
    return [Table("Lattices where there are none", columns, tuple(cells), note)]
