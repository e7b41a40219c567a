"""Structures without end for tests of scale: real monolayers with other elements, strained, from a seed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from pymatgen.core import Lattice, Structure

from library.sources import Entry
from library.store import Library
from microscopy.multislice import LAST_ELEMENT

SOURCE = "seeded variants"

MAX_SITES = 24
"""Larger parents would make the time of a build that of a few of them."""

STRAIN = 0.04
"""Largest strain of either axis: what separates two variants is then usually more than what separates two databases."""

NOBLE = frozenset(atomic_numbers[symbol] for symbol in ("He", "Ne", "Ar", "Kr", "Xe", "Rn"))
ELEMENTS = np.array([number for number in range(1, LAST_ELEMENT + 1) if number not in NOBLE])


def variants(library: Library, count: int, seed: int) -> Iterator[Entry]:
    """Decorations and strains of the templates of a library; a longer draw repeats a shorter one.

    Each element of a template is exchanged for another at random, the slab is scaled by the ratio of the mean covalent
    radii, and its axes are strained: alike in half of the cases, each by itself in the others.
    """
    parents = [row for row, numbers in enumerate(library.table.column("numbers")) if len(numbers) <= MAX_SITES]
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        parent = library.template(int(rng.choice(parents)))
        structure = variant(parent.structure, rng)
        yield Entry(f"variant-{seed}-{number}", structure, SOURCE, prototype=parent.prototype)


def variant(structure: Structure, rng: np.random.Generator) -> Structure:
    """One slab with other elements, scaled and strained."""
    numbers = np.array([site.specie.Z for site in structure])
    kinds, of_site = np.unique(numbers, return_inverse=True)
    others = rng.choice(ELEMENTS, size=len(kinds), replace=False)[of_site]
    scale = covalent_radii[others].mean() / covalent_radii[numbers].mean()
    along_a, along_b = rng.uniform(-STRAIN, STRAIN, size=2)
    if rng.random() < 0.5:
        along_b = along_a
    stretch = np.array([1 + along_a, 1 + along_b, 1.0])[:, None] * scale
    return Structure(Lattice(structure.lattice.matrix * stretch), others, structure.frac_coords)
