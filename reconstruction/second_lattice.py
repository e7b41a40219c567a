"""How a second lattice lies on the first: the words of a warning."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

SAME_SIZE = 0.02
"""Strain below which two lattices are those of one crystal, turned."""


def relation(first: Float[np.ndarray, "2 2"], second: Float[np.ndarray, "2 2"]) -> str:
    """Say how a lattice (rows, Å) differs from another: turned by how much, and how much larger, or its own cell.

    Lattice vectors may be paired in many ways: the one with the least strain counts, then that with the least rotation.
    """
    grid = np.array([(i, j) for i in range(-2, 3) for j in range(-2, 3) if (i, j) != (0, 0)])
    pairs = grid[[(i, j) for i in range(len(grid)) for j in range(len(grid))]]
    pairs = pairs[np.abs(np.linalg.det(pairs)).round() == 1]
    deformation = np.linalg.inv(first) @ (pairs @ second)
    left, stretch, right = np.linalg.svd(deformation[np.linalg.det(deformation) > 0])
    turned = left @ right  # rows: v' = v R, R = [[cos, sin], [-sin, cos]]
    angle = np.rad2deg(np.arctan2(turned[:, 0, 1], turned[:, 0, 0]))
    size = np.sqrt(stretch.prod(axis=1))
    shear = np.abs(stretch / size[:, None] - 1).max(axis=1)
    best = int(np.lexsort([np.abs(angle), np.round(shear, 2)])[0])
    if shear[best] > SAME_SIZE:
        a, b = np.linalg.norm(second, axis=1)
        gamma = np.rad2deg(np.arccos(second[0] @ second[1] / (a * b)))
        return f"a second lattice of {a:.2f} × {b:.2f} Å, {gamma:.0f}°, lies beside or over the first"
    sentence = f"a second lattice is turned by {abs(angle[best]):.1f}° from the first"
    misfit = size[best] - 1
    return sentence if abs(misfit) < SAME_SIZE else f"{sentence} and {abs(misfit):.1%} {_comparative(misfit)}"


def _comparative(misfit: float) -> str:
    return "larger" if misfit > 0 else "smaller"
