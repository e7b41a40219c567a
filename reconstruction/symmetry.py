"""The layer group of a slab, and the slab with that symmetry made exact.

A space group of a slab depends on the vacuum put around it; a layer group does not. Every group here
is that of the crystal, so of its primitive cell: the number does not change when a supercell comes in.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import spglib
from jaxtyping import Float, Int
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure
from scipy.stats import chi2

from microscopy.errors import ReconstructionError
from microscopy.slab import plane_cell, slab

# A tolerance that does not work is normal in a sweep; spglib would report each one on standard error.
os.environ.setdefault("SPGLIB_WARNING", "OFF")

TOLERANCES = tuple(float(t) for t in np.geomspace(1e-3, 0.3, 16))
"""Å. From the round-off of published coordinates to a third of the shortest bond's half length."""
EXACT = 1e-4
"""Å. A symmetrised slab has its group at this tolerance."""
MAX_SHIFT_SIGMA = 4.0
"""A site may move by this many standard errors when its symmetry is imposed."""
SEARCH_SIGMA = 12.0
"""spglib compares differences of differences of positions (error 2 sigma per component) for every pair of sites, so
its tolerance has to be this much larger than one position error before chance stops hiding a group."""
SIGMA_FLOOR = 0.005
"""Å. No model of the image is better than this, whatever the counting statistics say."""
SIGNIFICANCE = 1e-3
"""A group is refused when noise alone would displace the sites as much with less than this probability."""


@dataclass(frozen=True, eq=False)
class LayerSymmetry:
    """A layer group and what it took to see it.

    Attributes
    ----------
    number, symbol
        Layer group 1 to 80 and its Hermann-Mauguin symbol, of the primitive cell.
    tolerance
        Å; the smallest tolerance of the sweep at which the group holds.
    plateau
        Å; the range of neighbouring tolerances with the same group.
    symmetrised
        The slab with the group imposed: same sites, order, cell choice and centroid.
    operations
        Number of symmetry operations of the primitive cell.
    displacement
        Å; the farthest that a site moved when the group was imposed.
    """

    number: int
    symbol: str
    tolerance: float
    plateau: tuple[float, float]
    symmetrised: Structure
    operations: int
    displacement: float


@dataclass(frozen=True, eq=False)
class _Trial:
    """The group found at one tolerance and the slab with it imposed; ``moves`` is Å, shape (N, 3)."""

    tolerance: float
    number: int
    symbol: str
    operations: int
    symmetrised: Structure
    moves: Float[np.ndarray, "N 3"]


def layer_symmetry(
    structure: Structure, tolerances: Sequence[float] | None = None, position_sigma: float | None = None
) -> LayerSymmetry:
    """Find the layer group of a slab by sweeping the tolerance, and impose it.

    Without ``position_sigma`` the group with the widest plateau in log tolerance is taken. With it,
    symmetry broken by noise must be told from symmetry broken by the crystal, and the group is the highest
    one that the position errors do not contradict: no site moves by more than 4 standard errors, and the sum
    of squared in-plane moves is not larger than chance allows.

    Parameters
    ----------
    structure
        A slab; z is taken as exact when ``position_sigma`` is given.
    tolerances
        Å, the sweep.
    position_sigma
        In-plane standard error of a site, one component, Å.

    Returns
    -------
    LayerSymmetry
        The group of the primitive cell, also for a supercell.

    Raises
    ------
    ReconstructionError
        If no tolerance gives a layer group (sites on top of one another).
    """
    structure = slab(structure)
    sweep = sorted(float(t) for t in (TOLERANCES if tolerances is None else tolerances))
    trials = [trial for tolerance in sweep if (trial := _try(structure, tolerance)) is not None]
    if not trials:
        raise ReconstructionError(
            f"{structure.composition.reduced_formula}: no layer group between {sweep[0]:g} and {sweep[-1]:g} Å; "
            "check the structure for sites on top of one another"
        )
    plateaus = _plateaus(trials)
    if position_sigma is None:
        best = max(plateaus, key=lambda run: (np.log(run[-1].tolerance / run[0].tolerance), run[0].operations))
    else:
        sigma = max(position_sigma, SIGMA_FLOOR)
        allowed = [run for run in plateaus if _justified(run[0], sigma)]
        # The identity moves nothing, so P1 is justified even where spglib never reports it.
        best = max(allowed, key=lambda run: run[0].operations) if allowed else [_trivial(structure, sweep[0])]
    first = best[0]
    return LayerSymmetry(
        number=first.number,
        symbol=first.symbol,
        tolerance=first.tolerance,
        plateau=(first.tolerance, best[-1].tolerance),
        symmetrised=first.symmetrised,
        operations=first.operations,
        displacement=float(np.linalg.norm(first.moves, axis=1).max()),
    )


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
    folding = _fold(structure, dataset, tolerance)
    if folding is None:
        raise ReconstructionError(
            f"{structure.composition.reduced_formula}: sites do not repeat within {tolerance:g} Å"
        )
    return folding.primitive


@dataclass(frozen=True, eq=False)
class _Folding:
    """A primitive slab, and where each site of the supercell comes from.

    ``cell`` holds the primitive vectors as rows in fractions of the supercell; site i of the supercell repeats site
    ``parent[i]`` of the primitive slab; ``averaged`` are the supercell's fractions with exact translations.
    """

    primitive: Structure
    cell: Float[np.ndarray, "2 2"]
    parent: Int[np.ndarray, " N"]
    averaged: Float[np.ndarray, "N 3"]


def _try(structure: Structure, tolerance: float) -> _Trial | None:
    """Impose the group that spglib sees at a tolerance; None when it sees none that holds."""
    dataset = layer_dataset(structure, tolerance)
    if dataset is None:
        return None
    folding = _fold(structure, dataset, tolerance)
    if folding is None:
        return None
    small = folding.primitive
    if not np.array_equal(folding.cell, np.eye(2)):
        dataset = layer_dataset(small, tolerance)
        if dataset is None:
            return None
    matched = _match(small, dataset.rotations, dataset.translations, tolerance)
    if matched is None:
        return None
    rotations = np.asarray(dataset.rotations, dtype=float)
    frac = _averaged(small.frac_coords, rotations, *matched)
    cell = _symmetric_cell(plane_cell(small), rotations[:, :2, :2])
    exact = _rebuild(small, cell, frac)
    # What was imposed must be what is there: averaging may land in a higher group, never in a lower one.
    check = layer_dataset(exact, EXACT)
    if check is None or len(check.rotations) < len(rotations):
        return None
    # Back to the cell and the sites that came in.
    full_cell = np.linalg.inv(folding.cell) @ cell
    step = (frac - small.frac_coords)[folding.parent]
    full = folding.averaged.copy()
    full[:, :2] += step[:, :2] @ folding.cell
    full[:, 2] += step[:, 2]
    symmetrised = _rebuild(structure, full_cell, full)
    moves = np.column_stack(
        [(full - structure.frac_coords)[:, :2] @ full_cell, (full - structure.frac_coords)[:, 2] * structure.lattice.c]
    )
    if np.linalg.norm(moves, axis=1).max() > tolerance:
        return None
    return _Trial(tolerance, int(check.number), str(check.international), len(check.rotations), symmetrised, moves)


def symmetric_metric(
    structure: Structure, cell: Float[np.ndarray, "2 2"], tolerance: float = 0.05
) -> Float[np.ndarray, "2 2"]:
    """Give a measured cell the metric symmetry of a structure described in the same basis; a comes to lie along +x."""
    dataset = layer_dataset(structure, tolerance)
    return _along_x(cell) if dataset is None else _symmetric_cell(cell, np.asarray(dataset.rotations)[:, :2, :2])


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
    matched = _match(structure, rotations, dataset.translations, EXACT)
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


def _fold(structure: Structure, dataset: spglib.SpglibDataset, tolerance: float) -> _Folding | None:
    """Make the pure translations exact and take one site of each orbit."""
    pure = np.all(dataset.rotations == np.eye(3, dtype=int), axis=(1, 2))
    count = int(pure.sum())
    frac = structure.frac_coords
    if len(structure) % count:
        return None
    # A subgroup of order n of the plane's translations has steps of 1/n.
    translations = np.zeros((count, 3))
    translations[:, :2] = np.round(dataset.translations[pure][:, :2] * count) / count % 1.0
    matched = _match(structure, np.broadcast_to(np.eye(3), (count, 3, 3)), translations, tolerance)
    if matched is None:
        return None
    images, _ = matched
    averaged = _averaged(frac, np.broadcast_to(np.eye(3), (count, 3, 3)), *matched)
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
    return _Folding(_rebuild(small, plane_cell(slab(small)), small_frac), basis, parent, averaged)


def _match(
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


def _averaged(
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


def _symmetric_cell(cell: Float[np.ndarray, "2 2"], rotations: Float[np.ndarray, "G 2 2"]) -> Float[np.ndarray, "2 2"]:
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
        if a @ a > b @ b:
            rows, a, b = rows[::-1], b, a
        m = round(float(a @ b) / float(a @ a))
        if m == 0:
            return rows
        rows = np.array([rows[0], rows[1] - m * rows[0]])


def _rebuild(like: Structure, cell: Float[np.ndarray, "2 2"], frac: Float[np.ndarray, "N 3"]) -> Structure:
    """Put the same sites on another in-plane cell, at other fractions, unwrapped."""
    matrix = np.zeros((3, 3))
    matrix[:2, :2] = _along_x(cell)
    matrix[2, 2] = like.lattice.c
    return Structure(Lattice(matrix, pbc=(True, True, False)), like.species, frac)


def _along_x(cell: Float[np.ndarray, "2 2"]) -> Float[np.ndarray, "2 2"]:
    """Turn a cell so that a lies along +x and b has positive y."""
    return np.asarray(np.linalg.cholesky(cell @ cell.T))


def _plateaus(trials: Sequence[_Trial]) -> list[list[_Trial]]:
    """Group neighbouring tolerances that show the same group."""
    runs: list[list[_Trial]] = []
    for trial in trials:
        if runs and runs[-1][0].number == trial.number:
            runs[-1].append(trial)
        else:
            runs.append([trial])
    return runs


def _justified(trial: _Trial, sigma: float) -> bool:
    """Whether noise of this standard error explains what the group had to move."""
    if trial.tolerance > SEARCH_SIGMA * sigma:
        return False
    squared = np.sum(trial.moves**2, axis=1)
    limit = float(chi2.isf(SIGNIFICANCE, df=2 * len(squared))) * sigma**2
    return bool(squared.max() <= (MAX_SHIFT_SIGMA * sigma) ** 2 and squared.sum() <= limit)


def _trivial(structure: Structure, tolerance: float) -> _Trial:
    return _Trial(tolerance, 1, "p1", 1, structure, np.zeros((len(structure), 3)))
