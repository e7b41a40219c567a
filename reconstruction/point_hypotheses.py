"""What may be wrong with an atomic column: an atom missing, an atom replaced, or something else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers
from jaxtyping import Float
from pymatgen.core import Structure
from pymatgen.core.periodic_table import Element

from microscopy.multislice import LAST_ELEMENT

MERGED = 0.3
"""Å between atoms that are one column in projection: a third of a usual probe."""

VACANCY, SUBSTITUTION, OTHER = "vacancy", "substitution", "other"

SHARES = {VACANCY: 0.7, SUBSTITUTION: 0.25, OTHER: 0.05}
"""How defects divide among their kinds before the image is seen; equally within each."""

FURTHER = 0.1
"""Share of a vacancy of n + 1 atoms of one column in those of n."""


@dataclass(frozen=True, eq=False)
class Column:
    """Atoms of one cell that appear as one column.

    Attributes
    ----------
    frac
        Fractional (u, v).
    sites
        Indices into the structure by element, the heaviest element first.
    """

    frac: Float[np.ndarray, " 2"]
    sites: dict[str, tuple[int, ...]]

    @property
    def heaviest(self) -> str:
        """Element of the largest contribution."""
        return next(iter(self.sites))


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """One way in which a column may deviate.

    Attributes
    ----------
    kind
        ``VACANCY``, ``SUBSTITUTION`` or ``OTHER``.
    element, replaced_by
        What is missing and what stands there instead.
    change
        Number of atoms of each element that come (positive) or go, shape (E,).
    share
        Prior probability among the defects of a column.
    """

    kind: str
    element: str
    replaced_by: str | None
    change: Float[np.ndarray, " E"]
    share: float


def columns_of(structure: Structure, cell: Float[np.ndarray, "2 2"]) -> tuple[Column, ...]:
    """Group the sites of a slab into columns; ``cell`` rows are a, b in Å."""
    frac = structure.frac_coords[:, :2]
    delta = frac[:, None] - frac[None]
    delta -= np.round(delta)
    near = np.linalg.norm(delta @ cell, axis=2) < MERGED
    taken = np.zeros(len(frac), dtype=bool)
    found = []
    for first in range(len(frac)):
        if taken[first]:
            continue
        members = np.nonzero(near[first] & ~taken)[0]
        taken[members] = True
        symbols = sorted({structure[int(m)].specie.symbol for m in members}, key=lambda s: -atomic_numbers[s])
        sites = {s: tuple(int(m) for m in members if structure[int(m)].specie.symbol == s) for s in symbols}
        found.append(Column(frac[first] - delta[first, members].mean(axis=0), sites))
    return tuple(found)


def replacements(symbol: str, crystal: set[str]) -> list[str]:
    """Elements that may stand in for another: the crystal's others, and its group in the periods before and after."""
    element = Element(symbol)
    group = []
    for row in (element.row - 1, element.row + 1):
        same = [e for e in Element if e.group == element.group and e.row == row and 1 < e.Z <= LAST_ELEMENT]
        if same:
            group.append(str(min(same, key=lambda e: e.Z).symbol))
    return sorted((crystal | set(group)) - {symbol}, key=lambda s: atomic_numbers[s])


def elements_of(columns: tuple[Column, ...]) -> tuple[str, ...]:
    """Symbols that any hypothesis needs, by atomic number."""
    crystal = {symbol for column in columns for symbol in column.sites}
    others = {other for symbol in crystal for other in replacements(symbol, crystal)}
    return tuple(sorted(crystal | others, key=lambda s: atomic_numbers[s]))


def hypotheses_of(column: Column, columns: tuple[Column, ...], symbols: tuple[str, ...]) -> tuple[Hypothesis, ...]:
    """All that may be wrong with one of the columns; changes are in the order of ``symbols``."""
    crystal = {symbol for each in columns for symbol in each.sites}
    unit = dict(zip(symbols, np.eye(len(symbols)), strict=True))
    vacancy = SHARES[VACANCY] / len(column.sites)
    found = [
        Hypothesis(VACANCY, symbol, None, -count * unit[symbol], vacancy * FURTHER ** (count - 1))
        for symbol, sites in column.sites.items()
        for count in range(1, len(sites) + 1)
    ]
    swaps = [(symbol, other) for symbol in column.sites for other in replacements(symbol, crystal)]
    for symbol, other in swaps:
        share = SHARES[SUBSTITUTION] / len(swaps)
        found.append(Hypothesis(SUBSTITUTION, symbol, other, unit[other] - unit[symbol], share))
    found.append(Hypothesis(OTHER, column.heaviest, None, unit[column.heaviest], SHARES[OTHER]))
    return tuple(found)
