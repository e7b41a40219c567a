"""How well drift within a frame is measured from the lattice, and what taking it out is worth.

    python -m benchmarks.drift --cells DIR

Templates of the embedded library are imaged by multislice with drift and line jitter. One row per image: rms of the
true displacement beyond its linear part, of the error of the measured one, and the error expected; line jitter found;
largest relative error of the lattice against the one that the drifting frame shows on average; correlation of the
right template's registration; each before and after.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from library.store import EMBEDDED, Library
from microscopy.micrograph import Micrograph
from microscopy.scan import drifted
from microscopy.simulation import simulate
from microscopy.simulation_records import Simulation, SimulationOptions
from reconstruction.drift import estimate_drift, undrifted
from reconstruction.lattice import find_lattice
from reconstruction.records import ImageLattice
from reconstruction.retrieval import RetrievalOptions, retrieve
from reconstruction.spectrum import highest_frequency

TEMPLATES = ("1H-MX2:Mo-S", "graphene:C", "h-BN:B-N", "SnS:Sn-S", "CrI3:Cr-I", "MoO3:Mo-O")
CONDITIONS = ((0.0, 0.0), (1.0, 0.0), (2.0, 0.0), (5.0, 0.0), (0.0, 0.1), (5.0, 0.1), (0.0, 0.2), (5.0, 0.2))
"""Drift over the frame and rms line jitter, Å."""

STRAIN = 0.15
"""Largest deformation of a template: the linear part of a drift by a tenth of the frame is not taken out."""

ROTATION = 17.0
"""Degrees: no row of atoms lies along a scan line."""


def true_displacement(simulation: Simulation) -> Float[np.ndarray, "H 2"]:
    """Displacement of each row, (x, y) in Å, relative to the affine image that the truth describes."""
    options = simulation.truth.options
    height = options.shape[0] * options.pixel_size[0]
    turn = np.deg2rad(options.rotation)
    still = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    t = np.arange(options.shape[0]) / options.shape[0]
    start, rate = np.polynomial.polynomial.polyfit(t * height, drifted(t), 1)
    # A drift d over the frame distorts it by S = 1 / (1 − rate d yᵀ); what is left of it is seen through S.
    distortion = simulation.truth.matrix @ still.T
    drift = (np.eye(2) - np.linalg.inv(distortion))[:, 1] / rate
    return np.asarray(np.outer(drifted(t) - start - rate * t * height, distortion @ drift))


def lattice_error(lattice: ImageLattice, cell: Float[np.ndarray, "2 2"]) -> float:
    """Largest relative deformation between a cell (rows, Å) and the nearest one of a lattice's."""
    whole = np.round(cell @ np.linalg.inv(lattice.vectors))
    if abs(np.linalg.det(whole)) < 0.5:
        return np.inf
    return float(np.abs(np.linalg.solve(whole @ lattice.vectors, cell) - np.eye(2)).max())


def correlation(micrograph: Micrograph, library: Library, template: str) -> float:
    """Of the registration of a template, its elements known; 0 when it is not among the candidates."""
    found = retrieve(micrograph, library, RetrievalOptions(strain=STRAIN))
    return next((c.correlation for c in found.items if c.template == template), 0.0)


def row(simulation: Simulation, library: Library, template: str) -> str:
    """One line of the table."""
    micrograph, truth = simulation.micrograph, true_displacement(simulation)
    elements = tuple(sorted({site.specie.symbol for site in simulation.truth.structure}))
    micrograph = replace(micrograph, elements=elements)
    q_max = highest_frequency(micrograph)
    lattice = find_lattice(micrograph, q_max)
    if lattice is None:
        return "no lattice"
    began = time.perf_counter()
    straight, straight_lattice, drift = undrifted(micrograph, lattice, q_max)
    seconds = time.perf_counter() - began
    measured = drift or estimate_drift(micrograph, lattice, q_max)
    removed = np.zeros_like(truth) if drift is None else drift.displacement
    errors = [np.sqrt((each**2).sum(axis=1).mean()) for each in (truth, removed - truth, measured.standard_error)]
    cells = [lattice_error(each, simulation.truth.cell) for each in (lattice, straight_lattice)]
    fits = [correlation(each, library, template) for each in (micrograph, straight)]
    return (
        f"{'taken out' if drift else 'left':9} {errors[0]:6.4f} {errors[1]:6.4f} ±{errors[2]:6.4f}  "
        f"{measured.line_jitter:5.3f} ±{measured.line_jitter_error:5.3f}  {cells[0]:8.1e} {cells[1]:8.1e}  "
        f"{fits[0]:6.4f} {fits[1]:6.4f}  {seconds:4.2f}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=__doc__.split("\n")[0])
    parser.add_argument("--cells", type=Path, required=True, help="folder that keeps multislice results")
    parser.add_argument("--dose", type=float, default=3e4, help="e/Å²")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    library = Library.open(EMBEDDED)
    print(
        "template     drift jitter            rms u  error  expected  jitter found  lattice error      correlation    s"
    )
    for template in TEMPLATES:
        structure = library.template(library.ids.index(template)).structure
        for drift, jitter in CONDITIONS:
            artefacts = {"drift": drift, "line_jitter": jitter}
            asked = SimulationOptions(
                dose=options.dose, rotation=ROTATION, seed=options.seed, thermal_sigma=0.08, artefacts=artefacts
            )
            simulation = simulate(structure, asked, options.cells)
            line = row(simulation, library, template)
            print(f"{template:12} {drift:5.1f} {jitter:6.2f}  {line}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
