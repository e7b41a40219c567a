"""The images that are measured: one view of a material, the same at every dose and with any detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.evaluate import options
from benchmarks.materials import Material
from benchmarks.pipeline import denoised
from microscopy.micrograph import Micrograph, Modality
from microscopy.optics import Optics
from microscopy.simulation import simulate
from microscopy.simulation_records import Simulation

RECORDED = "as recorded"
"""Name of the image that nobody has touched."""


def view(
    material: Material,
    modality: Modality,
    dose: float | None,
    seed: int,
    cells: Path,
    *,
    side: int = 512,
    artefacts: Mapping[str, float] | None = None,
) -> Simulation:
    """Image a material, turned and mirrored at random.

    Parameters
    ----------
    material, modality
        What is imaged, and with which detector.
    dose
        e/Å², None for no noise.
    seed
        Of the run; rotation, origin, vacancies and noise follow from it and the material alone.
    cells
        Folder of multislice images.
    side
        Pixels of 0.1 Å along each edge.
    artefacts
        See ``microscopy.artefacts``.
    """
    case = Case(material.id, (), dose=dose, seed=seed, shape=(side, side), artefacts=artefacts or {})
    return simulate(material.structure, replace(options(case), optics=Optics(modality)), cells)


def restored(micrograph: Micrograph, denoiser: str) -> Micrograph:
    """A micrograph after a denoiser; itself for `RECORDED`."""
    return micrograph if denoiser == RECORDED else denoised(micrograph, denoiser)
