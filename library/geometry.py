"""Distances and bonds of a slab: what tells a layer from overlapping atoms, chains and molecules."""

from __future__ import annotations

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from jaxtyping import Float
from pymatgen.core import Structure

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


def bonded_rank(structure: Structure) -> tuple[int, int]:
    """Components per cell of the bond network, and in how many directions the least extended of them repeats.

    A layer is (1, 2); parallel ribbons have rank 1, molecules rank 0; bonds through c give rank 3.
    """
    radii = site_radii(structure)
    i, j, image, distance = structure.get_neighbor_list(2 * BOND_FACTOR * radii.max(), exclude_self=True)
    near = distance < BOND_FACTOR * (radii[i] + radii[j])
    links: list[list[tuple[int, np.ndarray]]] = [[] for _ in structure]
    for first, second, shift in zip(i[near], j[near], image[near], strict=True):
        links[first].append((int(second), np.rint(shift).astype(int)))
    place: dict[int, np.ndarray] = {}
    ranks = []
    for root in range(len(structure)):
        if root in place:
            continue
        place[root] = np.zeros(3, dtype=int)
        queue, periods = [root], [np.zeros(3, dtype=int)]
        while queue:
            site = queue.pop()
            for other, shift in links[site]:
                cell = place[site] + shift
                if other not in place:
                    place[other] = cell
                    queue.append(other)
                elif np.any(cell != place[other]):
                    periods.append(cell - place[other])
        ranks.append(int(np.linalg.matrix_rank(np.array(periods))))
    return len(ranks), min(ranks)
