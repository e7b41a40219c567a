"""The layer group of a slab, and the slab with that symmetry made exact.

A space group of a slab depends on the vacuum put around it; a layer group does not. Every group here
is that of the crystal, so of its primitive cell: the number does not change when a supercell comes in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from pymatgen.core.structure import Structure
from scipy.stats import chi2

from microscopy.errors import ReconstructionError
from microscopy.slab import plane_cell, slab
from reconstruction.distortion import deformation
from reconstruction.operations import (
    EXACT,
    averaged_positions,
    fold,
    layer_dataset,
    match_sites,
    rebuilt,
    symmetric_cell,
)

TOLERANCES = tuple(float(t) for t in np.geomspace(1e-3, 0.3, 16))
"""Å. From the round-off of published coordinates to less than half of the shortest bond (H-H, 0.74)."""
COARSE_TOLERANCES = (0.4, 0.5, 0.6)
"""Å. Also tried where positions are so uncertain that they may hide a group beyond the last of `TOLERANCES`."""
MAX_SHIFT_SIGMA = 4.0
"""A site may move by this many standard errors when its symmetry is imposed."""
SEARCH_SIGMA = 12.0
"""spglib compares differences of differences of positions (error 2 sigma per component) for every pair of sites, so
its tolerance has to be this much larger than one position error before chance stops hiding a group."""
CELL_SIGMA = 0.0025
"""No cell is known better than this, relative; its symmetry may stretch it by `MAX_SHIFT_SIGMA` times as much."""
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
    structure: Structure,
    tolerances: Sequence[float] | None = None,
    position_sigma: float | None = None,
    cell_sigma: float = 0.0,
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
    cell_sigma
        Relative standard error of the cell; read with ``position_sigma`` only.

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
    if tolerances is None and position_sigma is not None and SEARCH_SIGMA * position_sigma > TOLERANCES[-1]:
        sweep += COARSE_TOLERANCES
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
        stretch = MAX_SHIFT_SIGMA * max(cell_sigma, CELL_SIGMA)
        allowed = [
            run
            for run in plateaus
            if _justified(run[0], sigma)
            and deformation(plane_cell(structure), plane_cell(run[0].symmetrised)) <= stretch
        ]
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


def _try(structure: Structure, tolerance: float) -> _Trial | None:
    """Impose the group that spglib sees at a tolerance; None when it sees none that holds."""
    dataset = layer_dataset(structure, tolerance)
    if dataset is None:
        return None
    folding = fold(structure, dataset, tolerance)
    if folding is None:
        return None
    small = folding.primitive
    if not np.array_equal(folding.cell, np.eye(2)):
        dataset = layer_dataset(small, tolerance)
        if dataset is None:
            return None
    matched = match_sites(small, dataset.rotations, dataset.translations, tolerance)
    if matched is None:
        return None
    rotations = np.asarray(dataset.rotations, dtype=float)
    frac = averaged_positions(small.frac_coords, rotations, *matched)
    cell = symmetric_cell(plane_cell(small), rotations[:, :2, :2])
    exact = rebuilt(small, cell, frac)
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
    symmetrised = rebuilt(structure, full_cell, full)
    moves = np.column_stack(
        [(full - structure.frac_coords)[:, :2] @ full_cell, (full - structure.frac_coords)[:, 2] * structure.lattice.c]
    )
    if np.linalg.norm(moves, axis=1).max() > tolerance:
        return None
    return _Trial(tolerance, int(check.number), str(check.international), len(check.rotations), symmetrised, moves)


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
