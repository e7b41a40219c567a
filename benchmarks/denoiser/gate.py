"""Suite ``gate``: whether the gate knows what it looks at (kind, pattern family), and whether experts are best at home.

A gate is a denoiser whose weights are named after its experts; ``GATE:EXPERT`` is that denoiser with one expert forced.
The kind of an image is its detector and its true signal-to-noise ratio, known here because the noise-free image is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise, product

import numpy as np
from jaxtyping import Float

from benchmarks.denoiser.output import Row, with_error
from benchmarks.denoiser.quality import DOSES
from benchmarks.denoiser.request import Request
from benchmarks.denoiser.statistics import windowed_power
from benchmarks.denoiser.views import view
from benchmarks.image_quality import quality
from benchmarks.tables import Table, rate
from microscopy.detector import SEGMENTED
from microscopy.errors import AutoMatError
from microscopy.micrograph import Modality
from microscopy.slab import plane_cell
from models.denoising import DenoiseOptions, denoise
from models.divaesr.configuration import PATTERNS
from models.divaesr.crystals import family

GATE = "moe"


KINDS = ("phase-low", "phase-high", "incoherent-low", "incoherent-high")
"""Experts, and the images that they are for: what the detector sees, low or high signal to noise."""

BAND = (0.1, 2.0)
"""1/Å, frequencies within which signal and noise are compared."""

BORDER = 2.0
"""dB, between low and high; it and the band are those of the training."""

CLEAR = 3.0
"""dB from the border beyond which the kind of an image is beyond dispute."""

LEVELS = (-10.0, 2.0, 12.0)
"""dB, borders between which answers are counted."""


def rows(request: Request) -> Iterator[Row]:
    """One row an image and way of denoising it: by the gate, and by each expert alone."""
    for modality, material in product(request.modalities, request.materials):
        clean = view(material, modality, None, request.seed, request.cells)
        lattice = family(plane_cell(material.structure))
        for dose in request.doses or DOSES[modality]:
            noisy = view(material, modality, dose, request.seed, request.cells).micrograph
            assert noisy.pixel_size is not None
            level = signal_to_noise(noisy.image, clean.micrograph.image, noisy.pixel_size)
            for expert in ("", *KINDS):
                row: Row = {"kind": kind(modality, level), "level": level, "id": material.id, "dose": dose}
                row |= {"expert": expert, "family": lattice, "problem": ""}
                try:
                    answer = denoise(noisy, DenoiseOptions(f"{GATE}:{expert}" if expert else GATE))
                    close = quality(answer.image, clean.micrograph.image, noisy.pixel_size, clean.truth.cell)
                    row |= {"weights": dict(answer.weights), "pattern": answer.pattern, "psnr": close.psnr}
                except AutoMatError as error:
                    row["problem"] = str(error)
                yield row


def kind(modality: Modality, level: float) -> str:
    """Kind of an image of a detector with a signal-to-noise ratio in dB."""
    family = "phase" if modality in SEGMENTED else "incoherent"
    return f"{family}-{'low' if level < BORDER else 'high'}"


def signal_to_noise(
    noisy: Float[np.ndarray, "H W"], clean: Float[np.ndarray, "H W"], pixel_size: tuple[float, float]
) -> float:
    """Power of the noise-free image over that of the noise within `BAND`, dB."""
    powers = []
    for each in (clean, noisy.astype(float) - clean):
        q, power = windowed_power(each, pixel_size)
        powers.append(float(power[(q >= BAND[0]) & (q <= BAND[1])].sum()))
    return float(10 * np.log10(powers[0] / max(powers[1], np.finfo(float).tiny)))


def tables(found: Sequence[Row]) -> list[Table]:
    """Weights of the gate by kind of image, what it takes lattices for, and the PSNR of experts."""
    answered = [row for row in found if not row["problem"]]
    gated = [row for row in answered if not row["expert"]]
    made = [_weights(gated), _families(gated), _experts(answered)]
    problems = sorted({row["problem"] for row in found if row["problem"]})
    if problems:
        made.append(Table("Not answered", ("problem",), tuple((each,) for each in problems)))
    return made


def _weights(found: Sequence[Row]) -> Table:
    cells = []
    for home in KINDS:
        own = [row for row in found if row["kind"] == home]
        weights = {name: [row["weights"].get(name, 0.0) for row in own] for name in KINDS}
        clear = [row for row in own if abs(row["level"] - BORDER) >= CLEAR]
        figures = (with_error(each, ".3f") for each in weights.values())
        cells.append((home, str(len(own)), *figures, rate(_first(own)), str(len(clear)), rate(_first(clear))))
    columns = (
        "image",
        "images",
        *(f"weight of {name}" for name in KINDS),
        "own expert first, % (95 %)",
        "clear images",
        "of these, % (95 %)",
    )
    note = (
        f"Mean weight ± standard error over images. Low, high: signal to noise below or above {BORDER:g} dB within "
        f"{BAND[0]:g} to {BAND[1]:g} 1/Å; clear: {CLEAR:g} dB or more from that border."
    )
    return Table("The gate", columns, tuple(cells), note)


def _first(found: Sequence[Row]) -> list[bool]:
    return [max(row["weights"], key=row["weights"].get) == row["kind"] for row in found]


def _families(found: Sequence[Row]) -> Table:
    groups = {name: [row for row in found if row["family"] == name] for name in PATTERNS[:-1]}
    for low, high in pairwise((-np.inf, *LEVELS, np.inf)):
        groups[f"{low:g} to {high:g} dB"] = [row for row in found if low <= row["level"] < high]
    cells = []
    for name, own in groups.items():
        said = [str(sum(row["pattern"] == each for row in own)) for each in PATTERNS]
        cells.append((name, str(len(own)), *said, rate([row["pattern"] == row["family"] for row in own])))
    columns = ("lattice", "images", *PATTERNS, "right, % (95 %)")
    note = "Images that the gate takes for each pattern family, by the crystal's own, and by signal to noise."
    return Table("Pattern families", columns, tuple(cells), note)


def _experts(found: Sequence[Row]) -> Table:
    cells = []
    for home in KINDS:
        own = [row for row in found if row["kind"] == home]
        psnr = {name: [row["psnr"] for row in own if row["expert"] == name] for name in ("", *KINDS)}
        means = {name: float(np.mean(each)) for name, each in psnr.items() if name and each}
        best = max(means, key=lambda name: means[name]) if means else "–"
        cells.append((home, *(with_error(each) for each in psnr.values()), best))
    columns = ("image", "gate", *KINDS, "best expert")
    return Table("Experts at home and away", columns, tuple(cells), "PSNR in dB, mean ± standard error over images.")
