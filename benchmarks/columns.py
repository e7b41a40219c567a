"""How well positions of atomic columns were found: which, how exactly, and the lattice that they make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from microscopy.simulation import Truth

RESOLVED = 0.5
"""Å. Sites closer in projection than the probe is wide (0.5 λ/α at 300 kV and 21 mrad) look like one column."""

REACH = 0.5
"""Å. A position further from a column is not that column, however far the next one is."""

EDGE = 2.0
"""Å along the edges of the field of view that are not judged, or one separation if that is more: tools need to see
the whole of a column, and leave out those that they do not."""

SELF = 1e-6
"""Å. A column is not its own neighbour; round-off is smaller."""

NEIGHBOURS = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)])


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns of a lattice over a field of view.

    Attributes
    ----------
    positions
        (x, y) in Å from the centre of the first pixel, shape (N, 2).
    indices
        Lattice translation of each column, shape (N, 2).
    members
        Which column of the cell each one is, shape (N,).
    """

    positions: Float[np.ndarray, "N 2"]
    indices: Int[np.ndarray, "N 2"]
    members: Int[np.ndarray, " N"]


@dataclass(frozen=True)
class ColumnScore:
    """Found columns against true ones.

    Attributes
    ----------
    recall
        Share of the true columns that were found.
    precision
        Share of the found positions that are columns; None when nothing was found.
    median_error, rms_error
        Å, over the columns found; None when there are none.
    lattice_error
        Largest relative error of the lengths of a and b, the indices of each found column being given; None when the
        columns found do not span the lattice.
    angle_error
        Degrees, of the angle between a and b.
    """

    recall: float
    precision: float | None
    median_error: float | None
    rms_error: float | None
    lattice_error: float | None
    angle_error: float | None


def projected_columns(
    positions: Float[np.ndarray, "N 2"], weights: Float[np.ndarray, " N"], cell: Float[np.ndarray, "2 2"]
) -> Float[np.ndarray, "M 2"]:
    """Columns of one cell, (x, y) in Å: sites within `RESOLVED` of one another, directly or in a chain, are one.

    A column lies at the mean of its sites, weighted as they scatter.
    """
    left = list(range(len(positions)))
    frac = positions @ np.linalg.inv(cell)
    columns = []
    while left:
        group = {left.pop(0): np.zeros(2)}  # sites of this column, and the translation that brings each one here
        waiting = list(group)
        while waiting:
            site = waiting.pop()
            for other in list(left):
                steps = np.round(frac[site] - frac[other]) + NEIGHBOURS
                moves = (frac[other] + steps - frac[site]) @ cell
                nearest = int(np.argmin((moves**2).sum(axis=1)))
                if np.linalg.norm(moves[nearest]) < RESOLVED:
                    left.remove(other)
                    group[other] = group[site] + steps[nearest]
                    waiting.append(other)
        sites = np.array(list(group))
        columns.append(
            np.average(positions[sites] + np.array(list(group.values())) @ cell, axis=0, weights=weights[sites])
        )
    return np.array(columns)


def tiled(
    columns: Float[np.ndarray, "M 2"], cell: Float[np.ndarray, "2 2"], extent: tuple[float, float], margin: float = 0.0
) -> Columns:
    """Columns of one cell repeated over 0 to ``extent`` = (x, y) Å, and ``margin`` Å beyond (negative: within)."""
    corners = np.array([(x, y) for x in (-margin, extent[0] + margin) for y in (-margin, extent[1] + margin)])
    inverse = np.linalg.inv(cell)
    # Columns may lie outside their cell: every one is counted from its own place.
    spans = (corners[:, None] - columns) @ inverse
    low, high = np.floor(spans.min(axis=(0, 1))).astype(int), np.ceil(spans.max(axis=(0, 1))).astype(int)
    steps = np.stack(np.meshgrid(*(np.arange(a, b + 1) for a, b in zip(low, high, strict=True))), axis=-1).reshape(
        -1, 2
    )
    positions = (columns[:, None] + steps @ cell).reshape(-1, 2)
    inside = _inside(positions, extent, -margin)
    indices, members = np.tile(steps, (len(columns), 1)), np.repeat(np.arange(len(columns)), len(steps))
    return Columns(positions[inside], indices[inside], members[inside])


def separation(columns: Float[np.ndarray, "M 2"], cell: Float[np.ndarray, "2 2"]) -> float:
    """Smallest distance of two columns of the lattice, Å: what a user measures before anything else."""
    frac = (columns[:, None] - columns) @ np.linalg.inv(cell)
    frac -= np.round(frac)
    distances = np.linalg.norm((frac[:, :, None] + NEIGHBOURS) @ cell, axis=-1)
    return float(distances[distances > SELF].min())


def true_columns(truth: Truth) -> Float[np.ndarray, "M 2"]:
    """Columns of one cell as they appear, (x, y) in Å; atomic numbers stand for how sites scatter."""
    weights = np.array([site.specie.Z for site in truth.structure], dtype=float)
    return projected_columns(truth.positions, weights, truth.cell)


def score_columns(
    found: Float[np.ndarray, "M 2"], truth: Truth, shape: tuple[int, int], pixel_size: tuple[float, float]
) -> ColumnScore:
    """Compare found columns with the true ones.

    Parameters
    ----------
    found
        (x, y) in Å from the centre of the first pixel.
    truth
        What the image shows.
    shape, pixel_size
        (H, W) of the image, and its pixel (y, x) in Å.

    Returns
    -------
    ColumnScore
        Away from the edges. Each column is found at most once, within half the smallest separation and `REACH`.
    """
    cell, columns = truth.cell, true_columns(truth)
    apart = separation(columns, cell)
    reach, edge = min(apart / 2, REACH), max(apart, EDGE)
    extent = ((shape[1] - 1) * pixel_size[1], (shape[0] - 1) * pixel_size[0])
    true = tiled(columns, cell, extent, margin=reach)
    found = np.asarray(found, dtype=float).reshape(-1, 2)
    pairs = _matched(found, true.positions, reach)
    judged = _inside(true.positions, extent, edge)
    seen = _inside(found, extent, edge)
    hits = pairs[judged[pairs[:, 1]]]
    errors = np.linalg.norm(found[hits[:, 0]] - true.positions[hits[:, 1]], axis=1)
    lattice = fitted_lattice(found[hits[:, 0]], true.indices[hits[:, 1]], true.members[hits[:, 1]])
    return ColumnScore(
        recall=len(hits) / max(int(judged.sum()), 1),
        precision=float(seen[pairs[:, 0]].sum() / seen.sum()) if seen.any() else None,
        median_error=float(np.median(errors)) if len(errors) else None,
        rms_error=float(np.sqrt(np.mean(errors**2))) if len(errors) else None,
        lattice_error=None if lattice is None else _length_error(lattice, cell),
        angle_error=None if lattice is None else abs(_angle(lattice) - _angle(cell)),
    )


def fitted_lattice(
    positions: Float[np.ndarray, "N 2"], indices: Int[np.ndarray, "N 2"], members: Int[np.ndarray, " N"]
) -> Float[np.ndarray, "2 2"] | None:
    """Rows a, b that fit indexed positions best, wherever each column of the cell lies; None if they do not span it."""
    steps, places = indices.astype(float), positions.copy()
    for member in np.unique(members):
        ours = members == member
        steps[ours] -= steps[ours].mean(axis=0)
        places[ours] -= places[ours].mean(axis=0)
    cell, _, rank, _ = np.linalg.lstsq(steps, places, rcond=None)
    return cell if rank == 2 else None


def _matched(found: np.ndarray, true: np.ndarray, reach: float) -> Int[np.ndarray, "K 2"]:
    """Pairs (found, true), each used once: a found position can reach one column at most, which takes the nearest."""
    if not len(found):
        return np.zeros((0, 2), dtype=int)
    distances, nearest = cKDTree(true).query(found, distance_upper_bound=reach)
    order = np.argsort(distances, kind="stable")
    order = order[np.isfinite(distances[order])]
    _, first = np.unique(nearest[order], return_index=True)
    return np.column_stack([order[first], nearest[order[first]]])


def _inside(positions: np.ndarray, extent: tuple[float, float], edge: float) -> np.ndarray:
    return np.asarray(((positions >= edge) & (positions <= np.array(extent) - edge)).all(axis=1))


def _length_error(lattice: np.ndarray, cell: np.ndarray) -> float:
    return float(np.abs(np.linalg.norm(lattice, axis=1) / np.linalg.norm(cell, axis=1) - 1).max())


def _angle(cell: np.ndarray) -> float:
    cosine = float(cell[0] @ cell[1] / np.prod(np.linalg.norm(cell, axis=1)))
    return float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))
