r"""Other heights for a layer whose heights are a guess: which element is in the middle, who is up and who is down.

A start gives each kind of site (`_kinds`) a level 0, 1 or 2 of distance from the middle and each site a side; the
projection stays.
All at level 0 is the flat sheet, all at level 1 the buckled one, the metal at 0 and the anion at 1 a sandwich. Sites of
one level that are too near in projection lie on opposite sides; the others take either, so that the starts are few. The
step between levels is the least that brings no two sites nearer than a bond, the sum of covalent radii :math:`r_{ij}`,
times that of `STRETCHES` which lowers a pair energy, by which starts are ranked:

.. math:: E = \sum_{ij} \epsilon_{ij} \left[(r_{ij}/d)^8 - 2 (r_{ij}/d)^4\right],

which wants neighbours at bond distance, unlike ones most (:math:`\epsilon` grows with the difference of
electronegativities), and keeps anions apart. It only chooses what a potential then decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from ase.data import covalent_radii
from jaxtyping import Float
from pymatgen.core import Element, Structure

KEEP = 6
"""Starts kept besides the structure as it came."""

PER_ORDER = 2
"""Most starts kept that differ only in who is up and who is down."""

MAX_GROUPS = 8
"""Groups of sites whose sides are free: 128 choices. In a cell with more, the nearest sites are made opposite."""

MAX_KINDS = 4
"""Kinds of sites that get levels of their own; where neighbours tell more, elements are the kinds."""

ALIKE = 0.1
"""Å by which distances of neighbours in projection differ within one kind."""

TOO_NEAR = 0.85
"""Of the sum of covalent radii: no two sites of one level are nearer."""

STRETCHES = (0.85, 1.0, 1.15)
"""Bonds are up to 15 % shorter or longer than the sum of covalent radii."""

LEAST_STEP = 0.25
"""Å, the step between levels where no bond needs one: buckling that a flat start could not find, being symmetric."""

REACH = 1.6
"""Pairs farther than this times the sum of covalent radii are left out."""

ANION_SPREAD, ANION_REACH = 0.3, 1.25
"""Elements this near the highest electronegativity are anions where there are others; between them the distance below
which they repel is longer by the second factor."""

DISTINCT = 0.2
"""Å, largest difference of heights of one arrangement; turned over it is the same one."""


@dataclass(frozen=True, eq=False)
class Start:
    """A structure to relax from, and what is special about its heights."""

    name: str
    structure: Structure


def height_starts(structure: Structure) -> list[Start]:
    """Arrangements of heights over one projection, the structure as it came first; at most `KEEP` others.

    Parameters
    ----------
    structure
        Slab in the convention of `microscopy.slab`; its in-plane cell and positions are those of every start.
    """
    symbols = [site.specie.symbol for site in structure]
    pairs = _Pairs(structure)
    kind = _kinds(symbols, pairs)
    kinds = np.array([symbols[list(kind).index(number)] for number in range(kind.max() + 1)])
    orders = _orders(len(kinds))
    each = [levels[kind] * pairs.sides(levels[kind]) for levels in orders]
    unit = np.concatenate(each).astype(float)
    order = np.repeat(np.arange(len(orders)), [len(sides) for sides in each])
    step = pairs.step(unit)
    stretched = [stretch * step[:, None] * unit for stretch in STRETCHES]
    energies = np.array([pairs.energy(z) for z in stretched])
    trial, energy = np.array(stretched)[energies.argmin(axis=0), np.arange(len(unit))], energies.min(axis=0)
    given = structure.cart_coords[:, 2]
    taken, names = [given - given.mean()], ["as given"]
    count = np.zeros(len(orders), dtype=int)
    for at in np.argsort(energy, kind="stable"):
        if len(taken) > KEEP or not np.isfinite(energy[at]):
            break
        if count[order[at]] < PER_ORDER and all(difference(trial[at], other) > DISTINCT for other in taken):
            count[order[at]] += 1
            taken.append(trial[at])
            names.append(_name(kinds, orders[order[at]]))
    return [Start(name, _with_heights(structure, z)) for name, z in zip(names, taken, strict=True)]


def difference(first: Float[np.ndarray, " N"], second: Float[np.ndarray, " N"]) -> float:
    """Largest difference in Å of two sets of heights about their middle, the second turned over if that is nearer."""
    a, b = (z - (z.min() + z.max()) / 2 for z in (first, second))
    return float(min(np.abs(a - b).max(), np.abs(a + b).max()))


def _kinds(symbols: list[str], pairs: _Pairs) -> np.ndarray:
    """Number of the kind of each site: by element and by the neighbours in projection, if that makes few kinds."""
    around: list[list[tuple[str, float]]] = [[] for _ in symbols]
    for i, j, rho in zip(pairs.i, pairs.j, pairs.rho, strict=True):
        around[i].append((symbols[j], rho))
        around[j].append((symbols[i], rho))
    seen: list[tuple[str, list[str], np.ndarray]] = []
    kind = []
    for symbol, neighbours in zip(symbols, map(sorted, around), strict=True):
        names, far = [name for name, _ in neighbours], np.array([rho for _, rho in neighbours])
        known = (
            n for n, (s, m, r) in enumerate(seen) if s == symbol and m == names and np.allclose(r, far, atol=ALIKE)
        )
        number = next(known, len(seen))
        if number == len(seen):
            seen.append((symbol, names, far))
        kind.append(number)
    return np.array(kind) if len(seen) <= MAX_KINDS else np.unique(symbols, return_inverse=True)[1]


def _orders(kinds: int) -> np.ndarray:
    """Level of each kind, shape (L, kinds); a level 2 only where there is a level 1."""
    levels = np.array(list(product(range(3), repeat=min(kinds, MAX_KINDS))))
    levels = levels[(levels.max(axis=1) < 2) | (levels == 1).any(axis=1)]
    return np.pad(levels, ((0, 0), (0, kinds - levels.shape[1])), constant_values=1)


def _name(kinds: np.ndarray, levels: np.ndarray) -> str:
    """``"flat"``, ``"buckled"``, or the kinds of site, by their elements, from the middle outwards."""
    if len(set(levels)) == 1:
        return "buckled" if levels[0] else "flat"
    shells = [",".join(sorted(set(kinds[levels == level]))) for level in sorted(set(levels))]
    return " inside ".join(shells)


def _with_heights(structure: Structure, z: np.ndarray) -> Structure:
    frac = structure.frac_coords.copy()
    frac[:, 2] = 0.5 + (z - (z.min() + z.max()) / 2) / structure.lattice.c
    return Structure(structure.lattice, structure.species, frac, site_properties=structure.site_properties)


class _Pairs:
    """Pairs of sites near in projection: distance in the plane, and the distance of a bond."""

    def __init__(self, structure: Structure) -> None:
        numbers = np.array([site.specie.Z for site in structure])
        radii = covalent_radii[numbers]
        cell = structure.lattice.matrix[:2, :2]
        most = np.ceil(2 * REACH * radii.max() * np.linalg.norm(np.linalg.inv(cell), axis=0)).astype(int) + 1
        images = np.array([(i, j) for i in range(-most[0], most[0] + 1) for j in range(-most[1], most[1] + 1)])
        xy = structure.cart_coords[:, :2]
        delta = xy[None, :, None] + (images @ cell)[None, None] - xy[:, None, None]
        rho = np.linalg.norm(delta, axis=-1)
        bond = radii[:, None] + radii[None]
        # Each pair once; a site's own images are as far at any height.
        near = (rho < REACH * bond[:, :, None]) & np.triu(np.ones_like(bond), k=1).astype(bool)[:, :, None]
        self.i, self.j, image = np.nonzero(near)
        self.rho, self.bond = rho[self.i, self.j, image], bond[self.i, self.j]
        x = np.array([Element.from_Z(int(z)).X or 2.0 for z in numbers])
        x = np.where(np.isfinite(x), x, 2.0)
        anion = (x > x.max() - ANION_SPREAD) & (x.max() - x.min() > ANION_SPREAD)
        self.repel = anion[self.i] & anion[self.j]
        alike = len(set(numbers.tolist())) == 1
        self.depth = np.where(self.repel, 0.0, 1.0 if alike else np.clip(0.3 + np.abs(x[self.i] - x[self.j]), 0.3, 1.0))

    def sides(self, level: np.ndarray) -> np.ndarray:
        """Choices of a side ±1 for sites of these levels, shape (S, N); those at level 0 have none to choose."""
        group, side = np.arange(len(level)), np.ones(len(level), dtype=int)
        group[level == 0] = len(level)
        groups = len(set(group[level > 0]))
        for at in np.argsort(self.rho / self.bond, kind="stable"):
            i, j = int(self.i[at]), int(self.j[at])
            if self.rho[at] > TOO_NEAR * self.bond[at] and groups <= MAX_GROUPS:
                break
            if group[i] != group[j] and level[i] == level[j]:
                joined = group == group[j]
                if side[i] == side[j]:
                    side[joined] *= -1
                group[joined] = group[i]
                groups -= 1
        _, group = np.unique(group, return_inverse=True)
        # The first group is up; beyond the limit (no near pairs left to join) the last ones are, too.
        free = max(min(groups, MAX_GROUPS) - 1, 0)
        choices = np.array(list(product((1, -1), repeat=free)), dtype=int).reshape(2**free, free)
        choices = np.pad(choices, ((0, 0), (1, int(group.max()) - free)), constant_values=1)
        return np.asarray(choices[:, group] * side)

    def step(self, unit: np.ndarray) -> np.ndarray:
        """Å between levels: the least that makes every pair of different heights at least a bond long, shape (B,)."""
        apart = np.abs(unit[:, self.i] - unit[:, self.j])
        needed = np.sqrt(np.maximum(self.bond**2 - self.rho**2, 0.0))
        steps = np.divide(needed, apart, out=np.zeros_like(apart), where=apart > 0)
        return np.asarray(np.maximum(steps.max(axis=1, initial=0.0), LEAST_STEP))

    def energy(self, z: np.ndarray) -> np.ndarray:
        """E of heights, shape (B,); infinite where two sites are nearer than `TOO_NEAR` of a bond would let them."""
        d2 = self.rho**2 + (z[:, self.i] - z[:, self.j]) ** 2
        bond = np.where(self.repel, ANION_REACH * self.bond, self.bond)
        x4 = (bond**2 / np.maximum(d2, 1e-6)) ** 2
        energy = np.where(self.repel, x4**2, self.depth * (x4**2 - 2 * x4)).sum(axis=1)
        overlap = (d2 < (0.7 * self.bond) ** 2).any(axis=1)
        return np.where(overlap, np.inf, energy)
