"""Suite ``gate``: whether the gate knows what it looks at, and whether each expert is best at home.

A gate is a denoiser whose weights are named after its experts; ``GATE:EXPERT`` is that denoiser with one expert forced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.denoiser.output import Row, with_error
from benchmarks.denoiser.request import Request
from benchmarks.denoiser.views import view
from benchmarks.image_quality import quality
from benchmarks.tables import Table, rate
from microscopy.errors import AutoMatError
from microscopy.micrograph import Modality
from models.denoising import DenoiseOptions, denoise

GATE = "moe"


@dataclass(frozen=True)
class Kind:
    """The images that one expert is for: detector, and doses in e/Å²."""

    modality: Modality
    doses: tuple[float, ...]


KINDS: Mapping[str, Kind] = {
    "phase-low": Kind(Modality.IDPC, (3e4, 6e4)),
    "phase-high": Kind(Modality.IDPC, (1e3, 3e3)),
    "incoherent-low": Kind(Modality.HAADF, (1e6, 3e6)),
    "incoherent-high": Kind(Modality.HAADF, (3e4, 1e5)),
}
"""By the expert's name; low and high: of the noise."""


def rows(request: Request) -> Iterator[Row]:
    """One row an image and way of denoising it: by the gate, and by each expert alone."""
    for kind, each in KINDS.items():
        if each.modality not in request.modalities:
            continue
        for material in request.materials:
            clean = view(material, each.modality, None, request.seed, request.cells)
            for dose in each.doses:
                noisy = view(material, each.modality, dose, request.seed, request.cells)
                assert noisy.micrograph.pixel_size is not None
                for expert in ("", *KINDS):
                    row: Row = {"kind": kind, "id": material.id, "dose": dose, "expert": expert, "problem": ""}
                    try:
                        answer = denoise(noisy.micrograph, DenoiseOptions(f"{GATE}:{expert}" if expert else GATE))
                        close = quality(
                            answer.image, clean.micrograph.image, noisy.micrograph.pixel_size, clean.truth.cell
                        )
                        row |= {"weights": dict(answer.weights), "psnr": close.psnr}
                    except AutoMatError as error:
                        row["problem"] = str(error)
                    yield row


def tables(found: Sequence[Row]) -> list[Table]:
    """Weights of the gate by kind of image, and the PSNR of experts on them."""
    answered = [row for row in found if not row["problem"]]
    made = [_weights([row for row in answered if not row["expert"]]), _experts(answered)]
    problems = sorted({row["problem"] for row in found if row["problem"]})
    if problems:
        made.append(Table("Not answered", ("problem",), tuple((each,) for each in problems)))
    return made


def _weights(found: Sequence[Row]) -> Table:
    cells = []
    for kind in KINDS:
        own = [row for row in found if row["kind"] == kind]
        weights = {name: [row["weights"].get(name, 0.0) for row in own] for name in KINDS}
        first = [max(row["weights"], key=row["weights"].get) == kind for row in own]
        cells.append((kind, str(len(own)), *(with_error(each, ".3f") for each in weights.values()), rate(first)))
    columns = ("image", "images", *(f"weight of {name}" for name in KINDS), "own expert first, % (95 %)")
    return Table("The gate", columns, tuple(cells), "Mean weight ± standard error over images.")


def _experts(found: Sequence[Row]) -> Table:
    cells = []
    for kind in KINDS:
        own = [row for row in found if row["kind"] == kind]
        psnr = {name: [row["psnr"] for row in own if row["expert"] == name] for name in ("", *KINDS)}
        means = {name: float(np.mean(each)) for name, each in psnr.items() if name and each}
        best = max(means, key=lambda name: means[name]) if means else "–"
        cells.append((kind, *(with_error(each) for each in psnr.values()), best))
    columns = ("image", "gate", *KINDS, "best expert")
    return Table("Experts at home and away", columns, tuple(cells), "PSNR in dB, mean ± standard error over images.")
