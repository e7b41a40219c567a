"""Which rows of a table of templates may match: by elements, formula, stoichiometry, name or lattice."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float
from pymatgen.core import Composition

from microscopy.errors import LibraryError

MAX_INDEX = 64
"""Largest crystal cell, in cells of the projected lattice."""


def as_mask(values: pa.ChunkedArray) -> Bool[np.ndarray, " N"]:
    """Booleans of a column."""
    return np.asarray(values.to_numpy(), dtype=bool)


def equal(table: pa.Table, column: str, value: str | int) -> Bool[np.ndarray, " N"]:
    """Rows with this value."""
    return as_mask(pc.equal(table.column(column), value))


def has_kinds(table: pa.Table, kinds: int) -> Bool[np.ndarray, " N"]:
    """Rows with this number of different elements."""
    return as_mask(pc.equal(pc.count_substring(table.column("elements"), "-"), kinds - 1))


def named(table: pa.Table, aliases: pa.Table, name: str) -> Bool[np.ndarray, " N"]:
    """Rows with this id or alias."""
    found = equal(table, "id", name)
    found[aliases.filter(pc.equal(aliases.column("id"), name)).column("row").to_numpy()] = True
    return found


def fits_lattice(table: pa.Table, lattice: Float[np.ndarray, "2 2"], strain: float) -> Bool[np.ndarray, " N"]:
    """Rows whose cell may be a cell of a lattice (rows of ``lattice``, Å) after a deformation within the strain.

    No template is lost that a registration could accept: its axes must be as long as vectors of the lattice and its
    area must be a multiple of the lattice's, each within what singular values in 1 ± strain allow.
    """
    a, b, area = (table.column(name).to_numpy() for name in ("a", "b", "area"))
    if not len(a):
        return np.zeros(0, bool)
    multiple = area / abs(np.linalg.det(lattice))
    least, most = np.ceil(multiple * (1 - strain) ** 2 - 1e-6), np.floor(multiple * (1 + strain) ** 2 + 1e-6)
    keep = np.asarray(np.maximum(least, 1) <= np.minimum(most, MAX_INDEX))
    lengths = _lengths(lattice, float(max(a.max(initial=0), b.max(initial=0))) * (1 + strain))
    for axis in (a, b):
        keep &= _near(axis, lengths, strain)
    return keep


def reduced_formula(text: str) -> str:
    """Any spelling of a formula in the reduced form that templates carry.

    Raises
    ------
    LibraryError
        If the text is not a formula.
    """
    try:
        composition = Composition(text)
        if not composition or not all(element.Z for element in composition.elements):
            raise ValueError(text)
        return composition.reduced_formula
    except (ValueError, AttributeError, KeyError) as error:
        raise LibraryError(f"{text!r} is not a chemical formula") from error


def _lengths(lattice: np.ndarray, longest: float) -> np.ndarray:
    """Lengths of all vectors of a lattice up to the longest, ascending."""
    limit = np.floor(longest * np.linalg.norm(np.linalg.inv(lattice), axis=0)).astype(int)
    i, j = np.mgrid[-limit[0] : limit[0] + 1, 0 : limit[1] + 1]
    lengths = np.linalg.norm(np.column_stack([i.ravel(), j.ravel()]) @ lattice, axis=1)
    return np.unique(lengths[(lengths > 0) & (lengths <= longest)])


def _near(values: np.ndarray, lengths: np.ndarray, strain: float) -> np.ndarray:
    """Whether some length is within a relative strain of each value."""
    if not len(lengths):
        return np.zeros(len(values), bool)
    after = np.searchsorted(lengths, values * (1 - strain - 1e-9))
    return (after < len(lengths)) & (lengths[np.minimum(after, len(lengths) - 1)] <= values * (1 + strain + 1e-9))
