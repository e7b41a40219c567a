"""The product's own pipeline on one file, without orchestration: the same steps, settings, planner and records.

Steps are run as the plain functions that the Prefect tasks wrap, so that what is measured is the product and not a
copy of it; the records they hand to one another live in a temporary folder.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from prefect import Task
from scipy.ndimage import map_coordinates

from benchmarks.cases import REGIMES, Known, Question, Variant
from benchmarks.materials import Material
from benchmarks.measuring import peak_mib, reset_peak
from flows.journal import Journal
from flows.reconstruct import explain
from flows.settings import Settings
from library.store import Library
from microscopy.micrograph import Micrograph
from microscopy.readers import ReadOptions
from microscopy.scan import raster
from microscopy.writers import write_tiff
from models.denoising import DenoiseOptions, denoise
from models.records import Relaxation
from planning.records import Decision, Verdict
from reconstruction.cell_average import cell_average
from reconstruction.lattice import find_lattice
from reconstruction.reconstruct import AVERAGE_STEP
from reconstruction.records import Candidates, Reconstruction
from reconstruction.retrieval import RetrievalOptions
from reconstruction.spectrum import highest_frequency, pixel_size
from tasks.resources import source_file
from tasks.store import Ref, load, records_in

MISTAKEN = ("Ti", "Se", "Cl")
"""Elements that a mistaken user names instead of one that is there."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What the product said of one image, and what it cost.

    Attributes
    ----------
    candidates, reconstruction, relaxation, verdict
        Of the best attempt.
    decisions
        Of the planner, in order.
    seconds, peak_mib
        By stage, summed and maximal over attempts.
    """

    candidates: Candidates
    reconstruction: Reconstruction | None
    relaxation: Relaxation | None
    verdict: Verdict
    decisions: tuple[Decision, ...]
    seconds: dict[str, float]
    peak_mib: dict[str, float]


@dataclass
class PlainJournal(Journal):
    """Runs each step as a plain function, and measures it."""

    peaks: dict[str, float] = field(default_factory=dict)

    def call(self, step: Task[..., Ref], *arguments: Any) -> Ref:
        """Run a step."""
        self.stage = step.name
        measured = reset_peak()
        started = time.perf_counter()
        ref = step.fn(*arguments)
        self.timings[step.name] = self.timings.get(step.name, 0.0) + time.perf_counter() - started
        peak = peak_mib() if measured else None
        if peak is not None:
            self.peaks[step.name] = max(self.peaks.get(step.name, 0.0), peak)
        return ref


def answer(
    image: Path,
    question: Question,
    material: Material,
    libraries: tuple[Path, ...],
    library: Library,
    alike: set[str],
    potential: str | None = None,
) -> Answer:
    """Run the pipeline on an image file as a user who knows what the question says would.

    Parameters
    ----------
    image
        The file.
    question
        Regime and variant.
    material
        The truth, of which only what the regime allows is told.
    libraries, library
        Folders searched (the embedded library when empty), and the same opened.
    alike
        Ids of the templates that are the material.
    potential
        Name or path; None for the product's default.

    Raises
    ------
    AutoMatError
        If no verdict was reached.
    """
    settings = _settings(question, material, libraries, library, alike, potential)
    with tempfile.TemporaryDirectory(prefix="automat-bench-") as folder, records_in(Path(folder)):
        journal = PlainJournal()
        best = explain(source_file(image), settings, journal).best
        return Answer(
            candidates=load(best.candidates),
            reconstruction=load(best.reconstruction) if best.reconstruction else None,
            relaxation=load(best.relaxation) if best.relaxation else None,
            verdict=load(best.verdict),
            decisions=tuple(load(decision) for decision in journal.decisions),
            seconds=dict(journal.timings),
            peak_mib=dict(journal.peaks),
        )


def _settings(
    question: Question,
    material: Material,
    libraries: tuple[Path, ...],
    library: Library,
    alike: set[str],
    potential: str | None,
) -> Settings:
    regime, variant = REGIMES[question.regime], question.variant
    read = ReadOptions(
        elements=_told(regime.known, material.elements),
        formula=material.formula if regime.known == "formula" else None,
    )
    retrieval = RetrievalOptions()
    if variant.single:
        retrieval = replace(retrieval, shortlist=1, refine=1)
    excluded = alike if regime.withheld else set(library.ids) - alike if variant.hint else set()
    return Settings(
        read=read,
        retrieval=replace(retrieval, exclude=tuple(sorted(excluded))),
        library=libraries,
        potential=potential,
        relaxation=question.relax,
        planner=variant.planner,
    )


def _told(known: Known, elements: tuple[str, ...]) -> tuple[str, ...] | None:
    """The elements that a user names: those of the material, or with the first of them mistaken for another."""
    if known == "mistaken":
        other = next(symbol for symbol in MISTAKEN if symbol not in elements)
        return tuple(sorted((other, *elements[1:])))
    return elements if known == "elements" else None


def write_image(micrograph: Micrograph, bits: float, path: Path) -> None:
    """Write a simulated micrograph as its instrument would: a calibrated TIFF, whole grey levels in few ``bits``."""
    assert micrograph.pixel_size is not None
    image: np.ndarray = micrograph.image
    if bits:
        image = image.astype(np.uint8 if bits <= 8 else np.uint16)
    write_tiff(path, image, micrograph.pixel_size, dict(micrograph.metadata))


def denoised(micrograph: Micrograph, name: str) -> Micrograph:
    """A micrograph after the denoiser of a name, see ``DenoiseOptions``."""
    return replace(micrograph, image=denoise(micrograph, DenoiseOptions(expert=name)).image)


def prepared(micrograph: Micrograph, variant: Variant) -> Micrograph:
    """The image that a variant measures instead of the recorded one."""
    if variant.denoiser:
        return denoised(micrograph, variant.denoiser)
    if variant.average:
        return replace(micrograph, image=averaged(micrograph))
    return micrograph


def averaged(micrograph: Micrograph) -> Float32[np.ndarray, "H W"]:
    """Every pixel replaced by the mean of its equivalents in all cells of the lattice found; unchanged without one."""
    lattice = find_lattice(micrograph, highest_frequency(micrograph))
    if lattice is None:
        return micrograph.image
    size = pixel_size(micrograph)
    w, h = (int(np.ceil(length / AVERAGE_STEP)) for length in np.linalg.norm(lattice.vectors, axis=1))
    mean, _, _ = cell_average(micrograph.image, size, lattice.vectors, np.zeros(2), (h, w), micrograph.mask)
    frac = raster(micrograph.image.shape, size) @ np.linalg.inv(lattice.vectors)
    index = np.stack([frac[..., 1] * h, frac[..., 0] * w])
    return map_coordinates(mean, index, order=3, mode="grid-wrap").astype(np.float32)
