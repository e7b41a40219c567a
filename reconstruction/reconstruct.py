"""From a registered hypothesis to a crystal: lattice, positions, symmetry, and the evidence for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.fft
from jaxtyping import Float, Float32
from pymatgen.core import Lattice, Structure

from microscopy.errors import ReconstructionError
from microscopy.micrograph import Micrograph, Modality
from microscopy.slab import plane_cell
from reconstruction.cell_average import cell_average
from reconstruction.columns import find_columns
from reconstruction.distortion import TEMPLATE
from reconstruction.elements import element_evidence
from reconstruction.measurement import measure, supercell
from reconstruction.multiplicity import multiplicity
from reconstruction.records import Candidate, Candidates, ElementEvidence, ImageLattice, Reconstruction
from reconstruction.refinement import POSITION_PRIOR, SITE_PRIOR, Refinement, refine_positions
from reconstruction.spectrum import pixel_size
from reconstruction.superstructure import find_superstructure
from reconstruction.symmetry import layer_symmetry

AVERAGE_STEP = 0.1
"""Å, target spacing of the unit-cell average: five points per narrowest detail of a 2 Å⁻¹ image."""

MODEL_BIAS = 0.015
"""Å by which the linear image model misplaces sites whatever the dose; no symmetry is refused for less."""

SCAN_BIAS = 0.05
"""The same where the scan is distorted: whatever bends it bends it unevenly."""


def reconstruct(micrograph: Micrograph, candidates: Candidates, rank: int = 0) -> Reconstruction:
    """Refine one of the ranked hypotheses against the image.

    Parameters
    ----------
    micrograph
        With a pixel size.
    candidates
        Ranked hypotheses and the lattice of the image.
    rank
        Which of them; 0 is the best.

    Raises
    ------
    ReconstructionError
        If there is no hypothesis of that rank.
    """
    if candidates.lattice is None or rank >= len(candidates.items):
        raise ReconstructionError(f"{micrograph.source}: no hypothesis of rank {rank + 1} to reconstruct")
    candidate = candidates.items[rank]
    prior = POSITION_PRIOR if candidate.origin == "template" else SITE_PRIOR
    measurement = measure(micrograph, candidates.lattice)
    refined = refine_positions(candidate, measurement, prior)
    larger = find_superstructure(measurement, candidate.cell)
    scale, shear = calibration(candidate)
    structure = _slab(candidate, refined.frac, candidate.cell)
    regular = _slab(candidate, refined.frac, candidate.crystal)
    bias = SCAN_BIAS if candidate.scan_distorted else MODEL_BIAS
    sigma = float(np.hypot(np.median(refined.errors) * np.sqrt(max(refined.chi2, 1.0)), bias))
    symmetry = layer_symmetry(regular, position_sigma=sigma, cell_sigma=candidates.lattice.relative_error)
    elements = element_evidence(refined, np.array(structure.atomic_numbers), measurement.optics.modality)
    average, error, columns = _average(micrograph, candidate, refined)
    model = cell_image(refined, average.shape)
    level = average - average.mean()
    a, b, gamma = _parameters(regular)
    return Reconstruction(
        structure=structure,
        symmetrised=symmetry.symmetrised,
        candidate=candidate,
        a=a,
        b=b,
        gamma=gamma,
        lattice_errors=_lattice_errors(candidates.lattice, candidate),
        position_errors=refined.errors,
        layer_group=symmetry.number,
        layer_group_symbol=symmetry.symbol,
        symmetry_tolerance=symmetry.tolerance,
        symmetry_plateau=symmetry.plateau,
        scale=scale,
        shear=shear,
        cell_average=level.astype(np.float32),
        cell_model=model,
        cell_residual=((level - model) / error).astype(np.float32),
        columns=columns,
        z_source="bond lengths" if candidate.origin == "free" else "template",
        warnings=candidates.lattice.warnings + _unseen(elements) + _repeated(regular),
        chi2=refined.chi2,
        superstructure=larger.significance if larger else 0.0,
        elements=elements,
    )


def calibration(candidate: Candidate) -> tuple[float, float]:
    """Size of the image's cell over the crystal's, and the relative difference of its principal stretches.

    A relaxed structure of the material tells the crystal's cell; one that was made from other elements tells nothing of
    it, and only what is certain to be the scan's is left.
    """
    crystal = plane_cell(candidate.structure) if candidate.origin == "template" else candidate.crystal
    stretches = np.linalg.svd(np.linalg.inv(crystal) @ candidate.cell, compute_uv=False)
    return float(np.sqrt(stretches[0] * stretches[1])), float(stretches[0] / stretches[1] - 1)


def cell_image(refined: Refinement, shape: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
    """The model's image of one cell on a grid of fractional coordinates (row ~ b, column ~ a), its origin at (0, 0)."""
    h, w = shape
    grid = np.zeros(shape, dtype=complex)
    coefficients = refined.coefficients * np.exp(2j * np.pi * refined.indices @ _origin_fraction(refined))
    inside = (np.abs(refined.indices[:, 0]) < w / 2) & (np.abs(refined.indices[:, 1]) < h / 2)
    k, values = refined.indices[inside], coefficients[inside]
    grid[k[:, 1] % h, k[:, 0] % w] += values
    grid[-k[:, 1] % h, -k[:, 0] % w] += np.conj(values)
    return np.real(scipy.fft.ifft2(grid) * h * w).astype(np.float32)


def _unseen(elements: Sequence[ElementEvidence]) -> tuple[str, ...]:
    """What has to be said of elements that the image does not show."""
    symbols = [each.symbol for each in elements if each.unseen]
    if not symbols:
        return ()
    names = " and ".join(symbols)
    return (f"the image does not show {names} and would look the same without; only the hypothesis has it",)


def _repeated(structure: Structure) -> tuple[str, ...]:
    """What has to be said of a crystal whose columns all hold the same atoms several times."""
    times = multiplicity(structure)
    if times < 2:
        return ()
    return (f"every column holds {times} like atoms; an image has no absolute scale: one of each would look the same",)


def _origin_fraction(refined: Refinement) -> np.ndarray:
    return np.asarray(refined.shift @ np.linalg.inv(refined.cell))


def _slab(candidate: Candidate, frac: Float[np.ndarray, "N 2"], cell: Float[np.ndarray, "2 2"]) -> Structure:
    """The hypothesis with other in-plane positions and cell; seen from its other side, it is still the same crystal."""
    a, b = np.linalg.norm(cell, axis=1)
    cos = float(cell[0] @ cell[1]) / (a * b)
    matrix = np.zeros((3, 3))
    matrix[:2, :2] = [[a, 0], [b * cos, b * np.sqrt(1 - cos**2)]]
    matrix[2, 2] = candidate.structure.lattice.c
    coords = np.column_stack([frac % 1.0, candidate.structure.frac_coords[:, 2]])
    return Structure(Lattice(matrix, pbc=(True, True, False)), candidate.structure.species, coords)


def _average(
    micrograph: Micrograph, candidate: Candidate, refined: Refinement
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit-cell average, its standard error, and the columns found in it."""
    lengths = np.linalg.norm(candidate.cell, axis=1)
    w, h = (int(np.clip(round(length / AVERAGE_STEP), 16, 256)) for length in lengths)
    average, error, _ = cell_average(
        micrograph.image, pixel_size(micrograph), candidate.cell, refined.shift, (h, w), micrograph.mask
    )
    sign = -1 if micrograph.modality is Modality.ABF or candidate.amplitude < 0 else 1
    columns = find_columns(average, candidate.cell, error, sign=sign)
    return average, error, columns.positions


def _parameters(structure: Structure) -> tuple[float, float, float]:
    lattice = structure.lattice
    return float(lattice.a), float(lattice.b), float(lattice.gamma)


def _lattice_errors(lattice: ImageLattice, candidate: Candidate) -> np.ndarray:
    """Standard errors of a, b (Å) and gamma (degrees), components taken as independent.

    Of a cell that a distorted scan cannot tell, only the hypothesis is known, and how far crystals lie from theirs.
    """
    cell = candidate.cell
    errors = np.sqrt(supercell(cell, lattice).astype(float) ** 2 @ lattice.standard_errors**2)
    lengths = np.linalg.norm(cell, axis=1)
    along = np.sqrt((cell**2 * errors**2).sum(axis=1)) / lengths
    across = np.sqrt((cell[:, ::-1] ** 2 * errors**2).sum(axis=1)) / lengths
    if candidate.scan_distorted:
        along = np.hypot(along, TEMPLATE.sigma * lengths)
    return np.array([along[0], along[1], np.rad2deg(np.hypot(*(across / lengths)))])
