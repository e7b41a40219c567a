"""Operations of a layer group: asked of spglib, matched to sites, averaged over.

spglib says which operations there are, to its tolerance. Here each becomes a permutation of the sites with lattice
vectors in between, from which translations follow that close to an exact group.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import spglib
from jaxtyping import Float, Int
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from microscopy.errors import ReconstructionError
from microscopy.slab import plane_cell, slab

# A tolerance that does not work is normal in a sweep; spglib would report each one on standard error.
os.environ.setdefault("SPGLIB_WARNING", "OFF")

ROUND_OFF = 1e-9
"""Relative; lengths that differ by less are equal."""
EXACT = 1e-4
"""Å. A symmetrised slab has its group at this tolerance."""


def primitive(structure: Structure, tolerance: float = 0.01) -> Structure:
    """Primitive slab of a slab, its cell Gauss-reduced, positions averaged over the translations.

    Parameters
    ----------
    structure
        A slab, or a structure that can be seen as one.
    tolerance
        Å within which translated sites are the same.

    Raises
    ------
    ReconstructionError
        If spglib finds no layer group at this tolerance.
    """
    structure = slab(structure)
    dataset = layer_dataset(structure, tolerance)
    if dataset is None:
        raise ReconstructionError(f"{structure.composition.reduced_formula}: no layer group at {tolerance:g} Å")
    folding = fold(structure, dataset, tolerance)
    if folding is None:
        raise ReconstructionError(
            f"{structure.composition.reduced_formula}: sites do not repeat within {tolerance:g} Å"
        )
    return folding.primitive


@dataclass(frozen=True, eq=False)
class Folding:
    """A primitive slab, and where each site of the supercell comes from.

    ``cell`` holds the primitive vectors as rows in fractions of the supercell; site i of the supercell repeats site
    ``parent[i]`` of the primitive slab; ``averaged`` are the supercell's fractions with exact translations.
    """

    primitive: Structure
    cell: Float[np.ndarray, "2 2"]
    parent: Int[np.ndarray, " N"]
    averaged: Float[np.ndarray, "N 3"]


def layer_dataset(structure: Structure, tolerance: float) -> spglib.SpglibDataset | None:
    """Layer group data of a slab from spglib at one tolerance (Å); None where spglib fails."""
    cell: Any = (structure.lattice.matrix, structure.frac_coords, [site.specie.Z for site in structure])
    with quiet_spglib():
        try:
            return spglib.get_symmetry_layerdataset(cell, aperiodic_dir=2, symprec=tolerance)
        except spglib.SpglibError:
            return None


def exact_translations(structure: Structure, dataset: spglib.SpglibDataset) -> Float[np.ndarray, "G 3"] | None:
    """Find the translations of a symmetrised slab's operations to round-off rather than to spglib's tolerance."""
    rotations = np.asarray(dataset.rotations)
    matched = match_sites(structure, rotations, dataset.translations, EXACT)
    if matched is None:
        return None
    centroid = structure.frac_coords.mean(axis=0)
    return centroid - rotations @ centroid + matched[1].mean(axis=1)


@contextmanager
def quiet_spglib() -> Iterator[None]:
    """Silence spglib's announcement, at every call, that its old error handling will end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def fold(structure: Structure, dataset: spglib.SpglibDataset, tolerance: float) -> Folding | None:
    """Make the pure translations exact and take one site of each orbit."""
    pure = np.all(dataset.rotations == np.eye(3, dtype=int), axis=(1, 2))
    count = int(pure.sum())
    frac = structure.frac_coords
    if len(structure) % count:
        return None
    # A subgroup of order n of the plane's translations has steps of 1/n.
    translations = np.zeros((count, 3))
    translations[:, :2] = np.round(dataset.translations[pure][:, :2] * count) / count % 1.0
    matched = match_sites(structure, np.broadcast_to(np.eye(3), (count, 3, 3)), translations, tolerance)
    if matched is None:
        return None
    images, _ = matched
    averaged = averaged_positions(frac, np.broadcast_to(np.eye(3), (count, 3, 3)), *matched)
    basis = _shortest_basis(translations[:, :2], plane_cell(structure))
    if not np.isclose(abs(np.linalg.det(basis)) * count, 1.0):
        return None
    first = images.min(axis=0)
    kept, parent = np.unique(first, return_inverse=True)
    small_frac = averaged[kept].copy()
    small_frac[:, :2] = averaged[kept][:, :2] @ np.linalg.inv(basis)
    matrix = np.zeros((3, 3))
    matrix[:2, :2] = basis @ plane_cell(structure)
    matrix[2, 2] = structure.lattice.c
    small = Structure(Lattice(matrix), [structure.species[i] for i in kept], small_frac)
    # The convention turns a onto +x; fractions stay as they are, so steps map back through ``basis``.
    return Folding(rebuilt(small, plane_cell(slab(small)), small_frac), basis, parent, averaged)


def match_sites(
    structure: Structure, rotations: np.ndarray, translations: np.ndarray, tolerance: float
) -> tuple[Int[np.ndarray, "G N"], Float[np.ndarray, "G N 3"]] | None:
    """Site onto which each operation carries each site, and the lattice vector in between.

    Returns ``images`` and ``wraps`` with R x_i + t = x_images[i] + wraps[i] up to noise; None when an operation
    is not a permutation of the sites.
    """
    frac = structure.frac_coords
    metric = structure.lattice.matrix @ structure.lattice.matrix.T
    numbers = np.array([site.specie.Z for site in structure])
    moved = np.einsum("gij,nj->gni", rotations, frac) + np.asarray(translations)[:, None, :]
    images = np.empty(moved.shape[:2], dtype=int)
    wraps = np.zeros_like(moved)
    for g, points in enumerate(moved):
        delta = points[:, None, :] - frac[None, :, :]
        wrap = np.round(delta)
        wrap[:, :, 2] = 0.0
        # spglib reduces z as if it were periodic; a layer's own thickness never is.
        rest = delta - wrap
        rest[:, :, 2] -= np.round(rest[:, :, 2])
        squared = np.einsum("nmi,ij,nmj->nm", rest, metric, rest)
        squared[numbers[:, None] != numbers[None, :]] = np.inf
        nearest = squared.argmin(axis=1)
        if len(set(nearest)) != len(nearest) or squared.min(axis=1).max() > (3 * tolerance) ** 2:
            return None
        images[g] = nearest
        wraps[g] = wrap[np.arange(len(frac)), nearest]
    return images, wraps


def averaged_positions(
    frac: Float[np.ndarray, "N 3"],
    rotations: Float[np.ndarray, "G 3 3"],
    images: Int[np.ndarray, "G N"],
    wraps: Float[np.ndarray, "G N 3"],
) -> Float[np.ndarray, "N 3"]:
    """Positions averaged over a group, about their centroid.

    The translation that fits one operation best in the least-squares sense is t = (1 - R) C - <wrap> with the
    centroid C. These translations close to an exact group, whatever the noise, and leave the centroid in place.
    """
    centred = frac - frac.mean(axis=0)
    result = np.zeros_like(frac)
    for rotation, image, wrap in zip(rotations, images, wraps, strict=True):
        carried = centred @ rotation.T + wrap.mean(axis=0) - wrap
        result[image] += carried
    result = result / len(rotations) + frac.mean(axis=0)
    return result


def symmetric_moves(structure: Structure, tolerance: float) -> Float[np.ndarray, "M D"] | None:
    """In-plane moves of the sites that keep the symmetry a slab has at a tolerance in Å.

    Returns
    -------
    Independent moves as columns, of the 2N fractional coordinates (u₁, v₁, u₂, …); None where spglib finds no group.
    """
    dataset = layer_dataset(structure, tolerance)
    if dataset is None:
        return None
    rotations = np.asarray(dataset.rotations)
    matched = match_sites(structure, rotations, dataset.translations, tolerance)
    if matched is None:
        return None
    count = len(structure)
    projector = np.zeros((count, 2, count, 2))
    for rotation, image in zip(rotations, matched[0], strict=True):
        projector[image, :, np.arange(count), :] += rotation[:2, :2] / len(rotations)
    left, kept, _ = np.linalg.svd(projector.reshape(2 * count, 2 * count))
    return np.asarray(left[:, kept > 0.5])  # of a projector, singular values are zero or at least one


def symmetric_cell(cell: Float[np.ndarray, "2 2"], rotations: Float[np.ndarray, "G 2 2"]) -> Float[np.ndarray, "2 2"]:
    """In-plane cell, a along +x, whose metric is the average over the point group."""
    metric = cell @ cell.T
    metric = np.einsum("gki,kl,glj->ij", rotations, metric, rotations) / len(rotations)
    return np.asarray(np.linalg.cholesky(metric))


def _shortest_basis(translations: Float[np.ndarray, "T 2"], cell: Float[np.ndarray, "2 2"]) -> Float[np.ndarray, "2 2"]:
    """Gauss-reduced basis, in fractions of ``cell``, of the lattice with these translations; positive determinant."""
    # From a reduced cell, the shortest vectors are within one cell of the translations.
    rows = _reduced_rows(cell)
    grid = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)], dtype=float)
    within = (translations @ np.linalg.inv(rows)) % 1.0
    points = (within[:, None, :] + grid[None, :, :]).reshape(-1, 2) @ rows
    lengths = np.linalg.norm(points @ cell, axis=1)
    order = np.argsort(np.round(lengths, 9), kind="stable")
    points = points[order][lengths[order] > 1e-6]
    first = points[0]
    cross = first[0] * points[:, 1] - first[1] * points[:, 0]
    second = points[np.flatnonzero(np.abs(cross) > 1e-6)[0]]
    if np.linalg.det([first, second]) * np.linalg.det(cell) < 0:
        second = -second
    # Of two equally short choices the obtuse one (120° in a hexagonal lattice) is the crystallographic one.
    other = second - first
    if np.linalg.norm(other @ cell) < np.linalg.norm(second @ cell) * (1 + 1e-6):
        second = other
    return np.array([first, second])


def _reduced_rows(cell: Float[np.ndarray, "2 2"]) -> Float[np.ndarray, "2 2"]:
    """Unimodular rows that make a plane cell Gauss-reduced."""
    rows = np.eye(2)
    while True:
        a, b = rows @ cell
        if a @ a > (b @ b) * (1 + ROUND_OFF):
            rows, a, b = rows[::-1], b, a
        ratio = float(a @ b) / float(a @ a)
        m = round(ratio)
        # A tie within round-off would be taken back and forth without end.
        if abs(ratio) < 0.5 + ROUND_OFF:
            return rows
        rows = np.array([rows[0], rows[1] - m * rows[0]])


def rebuilt(like: Structure, cell: Float[np.ndarray, "2 2"], frac: Float[np.ndarray, "N 3"]) -> Structure:
    """Put the same sites on another in-plane cell, at other fractions, unwrapped."""
    matrix = np.zeros((3, 3))
    matrix[:2, :2] = along_x(cell)
    matrix[2, 2] = like.lattice.c
    return Structure(Lattice(matrix, pbc=(True, True, False)), like.species, frac)


def along_x(cell: Float[np.ndarray, "2 2"]) -> Float[np.ndarray, "2 2"]:
    """Turn a cell so that a lies along +x and b has positive y."""
    return np.asarray(np.linalg.cholesky(cell @ cell.T))
