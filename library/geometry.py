"""Distances and bonds of a slab: what tells a layer from overlapping atoms, chains and molecules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from jaxtyping import Float
from pymatgen.core import Lattice, Structure

BOND_FACTOR = 1.35
"""Atoms nearer than this times the sum of their covalent radii are bonded: long ionic bonds included, van der
Waals contacts (from about 1.5) not."""

OVERLAP_FACTOR = 0.6
"""Atoms nearer than this times the sum of their covalent radii overlap; the shortest real bonds are at about 0.75."""


def site_radii(structure: Structure) -> Float[np.ndarray, " N"]:
    """Covalent radius of each site in Å (Cordero et al., Dalton Trans. 2832 (2008))."""
    return np.array([covalent_radii[atomic_numbers[site.specie.symbol]] for site in structure])


def closest_contact(structure: Structure) -> float:
    """Smallest distance between two atoms divided by the sum of their covalent radii; inf when none is near."""
    radii = site_radii(structure)
    i, j, _, distance = structure.get_neighbor_list(2 * OVERLAP_FACTOR * max(radii.max(), 1.0), exclude_self=True)
    return float((distance / (radii[i] + radii[j])).min(initial=np.inf))


def as_periodic(structure: Structure) -> Structure:
    """Mark a slab as periodic along c: pymatgen's matcher finds no mapping between cells that are not."""
    return Structure(Lattice(structure.lattice.matrix), structure.species, structure.frac_coords)


@dataclass(frozen=True, eq=False)
class BondNetwork:
    """The bonded components of a cell.

    Attributes
    ----------
    members
        Site indices of each component.
    periods
        Integer lattice vectors along which each component repeats, first row zero, shape (K, 3) each.
    ranks
        In how many directions each repeats: 3 bulk, 2 layer, 1 chain, 0 molecule.
    """

    members: tuple[tuple[int, ...], ...]
    periods: tuple[np.ndarray, ...]
    ranks: tuple[int, ...]


def bond_network(structure: Structure) -> BondNetwork:
    """Components of the graph of bonds (`BOND_FACTOR`) of a periodic structure."""
    radii = site_radii(structure)
    i, j, image, distance = structure.get_neighbor_list(2 * BOND_FACTOR * radii.max(), exclude_self=True)
    near = distance < BOND_FACTOR * (radii[i] + radii[j])
    links: list[list[tuple[int, np.ndarray]]] = [[] for _ in structure]
    for first, second, shift in zip(i[near], j[near], image[near], strict=True):
        links[first].append((int(second), np.rint(shift).astype(int)))
    cell: dict[int, np.ndarray] = {}
    members, periods, ranks = [], [], []
    for root in range(len(structure)):
        if root in cell:
            continue
        cell[root] = np.zeros(3, dtype=int)
        queue, component, found = [root], [root], {(0, 0, 0)}
        while queue:
            site = queue.pop()
            for other, shift in links[site]:
                place = cell[site] + shift
                if other not in cell:
                    cell[other] = place
                    queue.append(other)
                    component.append(other)
                else:
                    x, y, z = (int(n) for n in place - cell[other])
                    found.add((x, y, z))
        members.append(tuple(component))
        periods.append(np.array(sorted(found, key=lambda p: (sum(map(abs, p)), p))))
        ranks.append(int(np.linalg.matrix_rank(periods[-1])))
    return BondNetwork(tuple(members), tuple(periods), tuple(ranks))
