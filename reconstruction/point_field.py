"""The atomic columns of a field of view, like with like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers
from jaxtyping import Bool, Float, Int
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from microscopy.micrograph import Micrograph
from reconstruction.point_hypotheses import Column, Hypothesis, columns_of, elements_of, hypotheses_of
from reconstruction.point_images import REACH, Projections, project
from reconstruction.records import Reconstruction
from reconstruction.spectrum import pixel_size

EDGE = 1.5
"""Å from the border, or from a pixel that is not believed, within which no column is judged."""

LIKE = 64
"""Nearest columns of one kind whose median is the perfect column: the crystal's contrast may drift over the field."""

MIN_CELLS = 12
"""Columns of a kind below which it is not examined: too few to say what is usual."""


@dataclass(frozen=True, eq=False)
class Kind:
    """Like columns, one to a cell: where they are among all, which of them are near, and what may be wrong."""

    column: Column
    part: slice
    near: Int[np.ndarray, "m LIKE"]
    heaviest: int
    hypotheses: tuple[Hypothesis, ...]


@dataclass(frozen=True, eq=False)
class Field:
    """The columns examined, n in all: places (x, y) in Å, cells, kinds and projections on the E elements."""

    symbols: tuple[str, ...]
    xy: Float[np.ndarray, "n 2"]
    cell: Int[np.ndarray, "n 2"]
    kinds: tuple[Kind, ...]
    projections: Projections
    tree: cKDTree

    def neighbours(self, at: int) -> Int[np.ndarray, " k"]:
        """Columns that one at ``at`` reaches, itself not among them."""
        return np.array([each for each in self.tree.query_ball_point(self.xy[at], REACH) if each != at], dtype=int)

    def spill(self, change: Float[np.ndarray, " E"], at: int, near: Int[np.ndarray, " k"]) -> Float[np.ndarray, "E k"]:
        """What atoms that come or go at one column add to the projections of others."""
        return self.projections.spill(change, self.xy[near] - self.xy[at])


def examine(micrograph: Micrograph, reconstruction: Reconstruction, shift: Float[np.ndarray, " 2"]) -> Field | None:
    """Look up the columns well inside an image and project it on them.

    Parameters
    ----------
    micrograph
        See :func:`reconstruction.point_images.project`.
    reconstruction
        The perfect crystal.
    shift
        Position of its origin in this image, (x, y) in Å.

    Returns
    -------
    Field or None
        None when there are fewer than ``MIN_CELLS`` columns of every kind.
    """
    lattice = reconstruction.candidate.cell
    columns = columns_of(reconstruction.structure, lattice)
    symbols = elements_of(columns)
    cells = _cells_in(micrograph, lattice, shift)
    kinds: list[Kind] = []
    places, translations, count = [], [], 0
    for column in columns:
        xy = (column.frac + cells) @ lattice + shift
        inside = _inside(micrograph, xy)
        number = int(inside.sum())
        if number < MIN_CELLS:
            continue
        places.append(xy[inside])
        translations.append(cells[inside])
        near = cKDTree(places[-1]).query(places[-1], min(LIKE, number))[1]
        hypotheses = hypotheses_of(column, columns, symbols)
        kinds.append(Kind(column, slice(count, count + number), near, symbols.index(column.heaviest), hypotheses))
        count += number
    if not kinds:
        return None
    xy = np.concatenate(places)
    projections = project(
        micrograph, reconstruction, shift, np.array([atomic_numbers[symbol] for symbol in symbols]), xy
    )
    return Field(symbols, xy, np.concatenate(translations), tuple(kinds), projections, cKDTree(xy))


def _cells_in(micrograph: Micrograph, lattice: np.ndarray, shift: np.ndarray) -> Int[np.ndarray, "m 2"]:
    """Lattice translations of all cells that may touch the image."""
    (height, width), (dy, dx) = micrograph.image.shape, pixel_size(micrograph)
    corners = np.array([(x, y) for x in (0.0, width * dx) for y in (0.0, height * dy)])
    reach = (corners - shift) @ np.linalg.inv(lattice)
    low, high = np.floor(reach.min(axis=0)).astype(int) - 1, np.ceil(reach.max(axis=0)).astype(int) + 1
    i, j = np.mgrid[low[0] : high[0] + 1, low[1] : high[1] + 1]
    return np.column_stack([i.ravel(), j.ravel()])


def _inside(micrograph: Micrograph, xy: Float[np.ndarray, "m 2"]) -> Bool[np.ndarray, " m"]:
    """Whether places are at least ``EDGE`` from the border and from pixels that are not believed."""
    size, shape = pixel_size(micrograph), micrograph.image.shape
    x, y = np.rint(xy / size[::-1]).astype(int).T
    inside = np.asarray((x >= 0) & (y >= 0) & (x < shape[1]) & (y < shape[0]))
    # A frame that is not believed makes the border one case of the mask.
    believed = np.ones(shape, dtype=bool) if micrograph.mask is None else micrograph.mask
    distance = distance_transform_edt(np.pad(believed, 1), sampling=size)[1:-1, 1:-1]
    inside[inside] = distance[y[inside], x[inside]] >= EDGE
    return inside
