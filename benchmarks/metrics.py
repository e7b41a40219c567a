"""How right a predicted monolayer is: the definitions of every benchmark table, as pure functions.

Both structures are slabs periodic in the plane. They are compared as projections: over every choice of
unimodular cell, in-plane rotation, mirror and origin, and over supercells of either side that hold the
same number of formula units. Distances are measured in the mean of the two metrics, so each number is the
same when prediction and truth change places. Nothing here is shared with the code that is measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core.structure import Structure
from scipy.optimize import linear_sum_assignment

from microscopy.errors import ReconstructionError
from microscopy.slab import plane_cell, slab
from reconstruction.operations import primitive

MAX_AREA_ERROR = 0.03
MAX_LENGTH_ERROR = 0.02
MAX_ANGLE_ERROR = 2.0
"""degrees"""
MAX_RMSD = 0.25
"""Å"""
MATCHER_VACUUM = 15.0
"""Å of empty space around both slabs for the three-dimensional comparison."""

SEARCH_LENGTH = 0.10
SEARCH_ANGLE = 8.0
"""Cells farther apart than this (relative, degrees) are not the same lattice, and no RMSD is defined."""
EXACT_REPEAT = 1e-3
"""Å. A cell is a supercell, whatever its noise-free origin, when its sites repeat within this distance."""
ROUND_OFF = 1e-9
"""Relative; lengths that differ by less are equal."""
MAX_SITES = 400
"""Sites of a common supercell beyond which two cells are called incommensurate."""
MAX_REFINED = 80
"""Cells and origins, best first by nearest-neighbour distance, whose assignment is solved exactly."""

_NEIGHBOURS = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)], dtype=float)


@dataclass(frozen=True)
class LatticeError:
    """Largest relative error of the in-plane a and b, and the change of γ in degrees, for the best choice of cells."""

    length: float
    angle: float


@dataclass(frozen=True)
class Score:
    """Every number of one comparison.

    ``area_error`` is relative and per formula unit; ``scale`` is the linear size of the prediction over the truth.
    Both are None when the formulas differ; ``rmsd_projected`` is None when formulas or lattices differ.
    """

    formula: bool
    area_error: float | None
    scale: float | None
    lattice: LatticeError
    rmsd_projected: float | None
    success: bool
    success_3d: bool


def score(prediction: Structure, truth: Structure, *, calibrated: bool = True) -> Score:
    """Compare a prediction with the truth.

    Parameters
    ----------
    prediction, truth
        Slabs (or structures that can be seen as ones).
    calibrated
        False when nobody knew the pixel size: the prediction is scaled to the truth's area per formula unit
        before it is judged, and ``scale`` says by how much it was off.
    """
    p, t = _Plane.of(prediction), _Plane.of(truth)
    if p.formula != t.formula:
        return Score(False, None, None, _lattice_error(p, t), None, False, False)
    ratio = (p.area / p.units) / (t.area / t.units)
    scale = math.sqrt(ratio)
    if not calibrated:
        p, prediction = p.scaled(1 / scale), _scaled_in_plane(slab(prediction), 1 / scale)
    area_error = abs(ratio - 1) if calibrated else 0.0
    lattice, rmsd = _compare(p, t)
    success = (
        area_error <= MAX_AREA_ERROR
        and lattice.length <= MAX_LENGTH_ERROR
        and lattice.angle <= MAX_ANGLE_ERROR
        and rmsd is not None
        and rmsd <= MAX_RMSD
    )
    return Score(True, abs(ratio - 1), scale, lattice, rmsd, success, success_3d(prediction, truth))


def lattice_error(prediction: Structure, truth: Structure) -> LatticeError:
    """Error of the in-plane lattice, for the choice of cells that makes it smallest."""
    p, t = _Plane.of(prediction), _Plane.of(truth)
    return _compare(p, t)[0] if p.formula == t.formula else _lattice_error(p, t)


def rmsd_projected(prediction: Structure, truth: Structure) -> float | None:
    """Root mean square distance in Å of assigned sites in projection; None when formula or lattice differ."""
    p, t = _Plane.of(prediction), _Plane.of(truth)
    return _compare(p, t)[1] if p.formula == t.formula else None


def success_3d(prediction: Structure, truth: Structure) -> bool:
    """Whether pymatgen's StructureMatcher calls both slabs the same, heights included."""
    matcher = StructureMatcher(ltol=0.1, stol=0.25, angle_tol=5, scale=False)
    return bool(matcher.fit(_in_vacuum(prediction), _in_vacuum(truth)))


@dataclass(frozen=True, eq=False)
class _Plane:
    """A projected primitive cell: rows a, b in Å; fractional (u, v) and element of each site."""

    cell: Float[np.ndarray, "2 2"]
    frac: Float[np.ndarray, "N 2"]
    species: Int[np.ndarray, " N"]
    formula: str
    units: int

    @classmethod
    def of(cls, structure: Structure) -> _Plane:
        small = _smallest(structure)
        species = np.array([site.specie.Z for site in small])
        # Not pymatgen's factor: to it one nitrogen atom is half a formula unit of N2.
        units = math.gcd(*(int(n) for n in np.unique(species, return_counts=True)[1]))
        frac = np.asarray(small.frac_coords[:, :2])
        return cls(plane_cell(small), frac, species, small.composition.reduced_formula, units)

    @property
    def area(self) -> float:
        return float(abs(np.linalg.det(self.cell)))

    def scaled(self, factor: float) -> _Plane:
        return _Plane(self.cell * factor, self.frac, self.species, self.formula, self.units)

    def super(self, rows: Int[np.ndarray, "2 2"]) -> _Plane:
        """Supercell with integer rows in fractions of this cell."""
        count = abs(round(float(np.linalg.det(rows))))
        reach = int(np.abs(rows).sum()) + 1
        grid = np.array([(i, j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)], dtype=float)
        inside = grid @ np.linalg.inv(rows)
        grid = grid[np.all((inside > -1e-9) & (inside < 1 - 1e-9), axis=1)]
        frac = (self.frac[None, :, :] + grid[:, None, :]).reshape(-1, 2) @ np.linalg.inv(rows)
        return _Plane(rows @ self.cell, frac, np.tile(self.species, count), self.formula, self.units * count)


def _compare(p: _Plane, t: _Plane) -> tuple[LatticeError, float | None]:
    """Best lattice error and RMSD of two planes with the same reduced formula."""
    pairs = []
    for big_p, big_t in _common_supercells(p, t):
        for rows, length, angle in _isometries(big_p.cell, big_t.cell):
            pairs.append((length, angle, big_p, big_t, rows))
    if not pairs:
        return _lattice_error(p, t), None
    best = min(pairs, key=lambda pair: _badness(pair[0], pair[1]))
    # Any cell choice within the limits of success may carry the sites; beyond them only the best one.
    limit = max(1.0, _badness(best[0], best[1])) + 1e-9
    laid = [
        _Laid.of(big_p, big_t, rows) for length, angle, big_p, big_t, rows in pairs if _badness(length, angle) <= limit
    ]
    return LatticeError(best[0], best[1]), _rmsd(laid)


def _badness(length: float, angle: float) -> float:
    """Errors over the limits of success, the larger one."""
    return max(length / MAX_LENGTH_ERROR, angle / MAX_ANGLE_ERROR)


def _lattice_error(p: _Plane, t: _Plane) -> LatticeError:
    """Error between the reduced primitive cells, whatever they hold."""
    found = [(length, angle) for _, length, angle in _isometries(_reduced(p.cell)[0], _reduced(t.cell)[0], wide=True)]
    return LatticeError(*min(found, key=lambda errors: _badness(*errors)))


def _common_supercells(p: _Plane, t: _Plane) -> Iterator[tuple[_Plane, _Plane]]:
    """Pairs of reduced supercells with equally many formula units, the fewest possible."""
    common = math.lcm(p.units, t.units)
    if common // p.units * len(p.species) > MAX_SITES:
        return
    for rows_p in _sublattices(common // p.units):
        big_p = p.super(_reduced(rows_p @ p.cell)[1] @ rows_p)
        for rows_t in _sublattices(common // t.units):
            yield big_p, t.super(_reduced(rows_t @ t.cell)[1] @ rows_t)


def _sublattices(index: int) -> Iterator[Int[np.ndarray, "2 2"]]:
    """Every sublattice of an index once, in Hermite normal form."""
    for d in range(1, index + 1):
        if index % d == 0:
            for k in range(index // d):
                yield np.array([[d, k], [0, index // d]])


def _reduced(cell: Float[np.ndarray, "2 2"]) -> tuple[Float[np.ndarray, "2 2"], Int[np.ndarray, "2 2"]]:
    """Gauss-reduced cell and the unimodular rows that make it."""
    rows = np.eye(2, dtype=int)
    while True:
        a, b = rows @ cell
        if a @ a > (b @ b) * (1 + ROUND_OFF):
            rows = rows[::-1]
            a, b = b, a
        ratio = float(a @ b) / float(a @ a)
        m = round(ratio)
        # A tie within round-off would be taken back and forth without end.
        if abs(ratio) < 0.5 + ROUND_OFF:
            return rows @ cell, rows
        rows = np.array([rows[0], rows[1] - m * rows[0]])


def _isometries(
    first: Float[np.ndarray, "2 2"], second: Float[np.ndarray, "2 2"], *, wide: bool = False
) -> list[tuple[Int[np.ndarray, "2 2"], float, float]]:
    """Unimodular rows M for which M @ second has nearly the lengths and angle of ``first``, and both errors.

    Both cells are reduced. ``wide`` compares the reduced cells however far they are apart.
    """
    lengths = np.linalg.norm(first, axis=1)
    gamma = _angle(*first)
    heights = abs(np.linalg.det(second)) / np.linalg.norm(second[::-1], axis=1)
    reach = np.minimum(np.ceil(lengths.max() * (1 + SEARCH_LENGTH) / heights), 1 if wide else 60).astype(int)
    grid = np.array(
        [(i, j) for i in range(-reach[0], reach[0] + 1) for j in range(-reach[1], reach[1] + 1) if (i, j) != (0, 0)]
    )
    vectors = grid @ second
    norms = np.linalg.norm(vectors, axis=1)
    found = []
    chosen = [
        np.flatnonzero(wide | (np.maximum(norms / length, length / norms) - 1 <= SEARCH_LENGTH)) for length in lengths
    ]
    for i in chosen[0]:
        for j in chosen[1]:
            rows = grid[[i, j]]
            if abs(rows[0, 0] * rows[1, 1] - rows[0, 1] * rows[1, 0]) != 1:
                continue
            angle = abs(_angle(vectors[i], vectors[j]) - gamma)
            # Symmetric in the two cells: relative to the smaller one.
            ratios = np.array([norms[i], norms[j]]) / lengths
            length_error = float(np.max(np.maximum(ratios, 1 / ratios) - 1))
            if wide or angle <= SEARCH_ANGLE:
                found.append((rows, length_error, float(angle)))
    return found


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    """Angle between two vectors, degrees, 0 to 180."""
    return math.degrees(math.atan2(abs(a[0] * b[1] - a[1] * b[0]), float(a @ b)))


@dataclass(frozen=True, eq=False)
class _Laid:
    """Two projections in one cell, rows in Å, and the origins to try.

    ``groups`` holds the sites of both by element; ``costs`` in Å², one of each of the ``shifts`` that take the first
    onto the second, is the sum over sites of the squared distance to the nearest one of the other.
    """

    cell: Float[np.ndarray, "2 2"]
    first: Float[np.ndarray, "N 2"]
    second: Float[np.ndarray, "N 2"]
    groups: list[tuple[np.ndarray, np.ndarray]]
    shifts: Float[np.ndarray, "S 2"]
    costs: Float[np.ndarray, " S"]

    @classmethod
    def of(cls, p: _Plane, t: _Plane, rows: Int[np.ndarray, "2 2"]) -> _Laid:
        """Sites of ``t`` taken in the cell ``rows @ t.cell`` and laid onto those of ``p``."""
        turned = rows @ t.cell
        # One metric for both: the mean, as a cell with a along +x.
        cell = np.linalg.cholesky((p.cell @ p.cell.T + turned @ turned.T) / 2)
        first, second = p.frac, t.frac @ np.linalg.inv(rows)
        groups = [(np.flatnonzero(p.species == z), np.flatnonzero(t.species == z)) for z in np.unique(p.species)]
        rare_p, rare_t = min(groups, key=lambda group: len(group[0]))
        # Each site of the rarest element onto one of the other side's, from both sides.
        shifts = np.vstack([second[rare_t] - first[rare_p[0]], second[rare_t[0]] - first[rare_p]])
        costs = np.zeros(len(shifts))
        for of_p, of_t in groups:
            delta = first[of_p][None, :, None, :] + shifts[:, None, None, :] - second[of_t][None, None, :, :]
            squared = np.sum(((delta - np.round(delta)) @ cell) ** 2, axis=-1)
            costs += np.maximum(squared.min(axis=2).sum(axis=1), squared.min(axis=1).sum(axis=1))
        return cls(cell, first, second, groups, shifts, costs)


def _rmsd(laid: list[_Laid]) -> float:
    """Smallest RMSD in Å over ways of laying one projection onto the other, and over all origins of each."""
    tries = [(cost, each, shift) for each in laid for cost, shift in zip(each.costs, each.shifts, strict=True)]
    best = math.inf
    for _, each, shift in sorted(tries, key=lambda tried: tried[0])[:MAX_REFINED]:
        best = min(best, _refined(each.first, each.second, shift, each.groups, each.cell, best))
    return math.sqrt(best / len(laid[0].first))


def _refined(
    frac_p: np.ndarray,
    frac_t: np.ndarray,
    shift: np.ndarray,
    groups: list[tuple[np.ndarray, np.ndarray]],
    cell: np.ndarray,
    best: float,
) -> float:
    """Smallest sum of squared distances, Å², over assignments and origins near one origin."""
    total = math.inf
    for _ in range(10):
        steps = []
        squares = 0.0
        for of_p, of_t in groups:
            delta = frac_p[of_p][:, None, :] + shift - frac_t[of_t][None, :, :]
            images = (delta - np.round(delta))[:, :, None, :] + _NEIGHBOURS
            squared = np.sum((images @ cell) ** 2, axis=-1)
            nearest = squared.argmin(axis=-1)
            cost = np.take_along_axis(squared, nearest[..., None], axis=-1)[..., 0]
            i, j = linear_sum_assignment(cost)
            squares += float(cost[i, j].sum())
            steps.append(images[i, j, nearest[i, j]])
        mean = np.vstack(steps).mean(axis=0)
        centred = squares - len(frac_p) * float(np.sum((mean @ cell) ** 2))
        if centred >= total - 1e-12:
            break
        total = max(centred, 0.0)
        shift = shift - mean
        # An origin that is twice as bad after its own optimum will not catch up.
        if total > 4 * best + 1e-9:
            break
    return total


def _smallest(structure: Structure) -> Structure:
    """Primitive slab; the slab as it came where its symmetry cannot be found (sites on top of one another)."""
    try:
        return primitive(structure, EXACT_REPEAT)
    except ReconstructionError:
        return slab(structure)


def _in_vacuum(structure: Structure) -> Structure:
    """Three-dimensional cell for the matcher, reduced first: its own reduction fails on very skew cells."""
    small = slab(_smallest(structure), MATCHER_VACUUM)
    frac = small.frac_coords.copy()
    cell, rows = _reduced(plane_cell(small))
    frac[:, :2] = frac[:, :2] @ np.linalg.inv(rows)
    matrix = np.array(small.lattice.matrix)
    matrix[:2, :2] = cell
    return Structure(matrix, small.species, frac)


def _scaled_in_plane(structure: Structure, factor: float) -> Structure:
    """Slab with its in-plane cell scaled, heights kept."""
    matrix = np.array(structure.lattice.matrix)
    matrix[:2, :2] *= factor
    return Structure(matrix, structure.species, structure.frac_coords)


def wilson(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Interval of a success rate (Wilson 1927), 95 % by default; (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    rate = successes / trials
    centre = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)
