"""Rectangular supercells of any plane lattice, filled without cutting: what abTEM needs to image a monolayer."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from pymatgen.core.structure import Structure

from microscopy.errors import SimulationError

WINDOW = 12.0
"""Å: least width of the simulated box; a focused probe's tails beyond 6 Å hold about a percent of it."""
MISFIT = 0.002
"""Cosine of the box's angle that is worth doubling its area: 98 % of 1,224 known monolayers stay below 0.005."""
MARGIN = 0.5
"""Å of vacuum before and after the layer: potentials are projected, so nothing extends into it."""


def rectangular(cell: Float[np.ndarray, "2 2"], name: str) -> Int[np.ndarray, "2 2"]:
    """Integer rows (A, B) of a nearly rectangular supercell at least ``WINDOW`` wide.

    Among all pairs of lattice vectors the one of least cost is taken: area against misfit from a right angle, where
    ``MISFIT`` is worth one smallest window. Exact pairs exist for all but oblique lattices.
    """
    inverse = np.linalg.inv(cell)
    longest = 3 * WINDOW + float(np.linalg.norm(cell, axis=1).max())
    reach = np.ceil(longest * np.linalg.norm(inverse, axis=0)).astype(int)
    n = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1).reshape(-1, 2)
    vectors = n @ cell
    lengths = np.linalg.norm(vectors, axis=1)
    keep = (lengths >= WINDOW - 1e-3) & (lengths <= longest)
    n, vectors, lengths = n[keep], vectors[keep], lengths[keep]
    half = (vectors[:, 0] > 1e-6) & (vectors[:, 1] >= -1e-6)  # A in the first quadrant, B anticlockwise of it
    first, first_n = vectors[half], n[half]
    best, choice = np.inf, None
    for a, a_n in zip(first, first_n, strict=True):
        length = np.hypot(*a)
        cosine = np.abs(vectors @ a) / (length * lengths)
        area = a[0] * vectors[:, 1] - a[1] * vectors[:, 0]
        cost = np.where(area > 0, length * lengths / WINDOW**2 + cosine / MISFIT, np.inf)
        # Ties between equivalent axes must not be broken by rounding: prefer the A nearest to x.
        cost = cost + 1e-4 * abs(np.arctan2(a[1], a[0]))
        index = int(np.argmin(cost))
        if cost[index] < best - 1e-9:
            best, choice = float(cost[index]), np.stack([a_n, n[index]])
    if choice is None:
        raise SimulationError(f"{name}: no supercell of at most {longest:.0f} Å is nearly rectangular")
    return choice


def boxed(structure: Structure, rows: np.ndarray, extent: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Atomic numbers, positions in the rectangular box, and the box height: the cell repeated by ``rows``."""
    cells = abs(round(np.linalg.det(rows)))
    # The lattice points of one box: integer translations whose box coordinates lie in [0, 1), by exact arithmetic.
    reach = int(np.abs(rows).sum())
    t = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    determinant = rows[0, 0] * rows[1, 1] - rows[0, 1] * rows[1, 0]
    adjugate = np.array([[rows[1, 1], -rows[0, 1]], [-rows[1, 0], rows[0, 0]]]) * np.sign(determinant)
    numerators = t @ adjugate
    t = t[np.all((numerators >= 0) & (numerators < cells), axis=1)]
    frac = (structure.frac_coords[None, :, :2] + t[:, None, :]).reshape(-1, 2)
    z = structure.cart_coords[:, 2]
    numbers = np.tile([site.specie.Z for site in structure], len(t))
    positions = np.empty((len(frac), 3))
    positions[:, :2] = (frac @ np.linalg.inv(rows)) % 1.0 * extent
    positions[:, 2] = np.tile(z - z.min() + MARGIN, len(t))
    if len(numbers) != cells * len(structure):
        raise AssertionError(f"{len(numbers)} atoms in {cells} cells of {len(structure)}")
    return numbers, positions, float(np.ptp(z)) + 2 * MARGIN
