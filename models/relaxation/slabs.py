"""Between a slab and ASE's atoms, and what a relaxation changed of it."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from jaxtyping import Float
from pymatgen.core import Lattice, Structure

from microscopy.errors import PotentialError

MIN_DISTANCE = 0.4
"""Å; shorter than any bond (H2: 0.74 Å), where a potential's answer means nothing."""


def to_atoms(structure: Structure) -> Atoms:
    """Slab as ASE atoms, periodic in the plane only.

    Raises
    ------
    PotentialError
        As `check_slab`, or if two sites are nearer than `MIN_DISTANCE`.
    """
    check_slab(structure)
    between = structure.distance_matrix[np.triu_indices(len(structure), k=1)]
    nearest = min([*between, *structure.lattice.abc[:2]])
    if nearest < MIN_DISTANCE:
        formula = structure.composition.hill_formula
        raise PotentialError(f"{formula}: two sites are {nearest:.2f} Å apart; check the cell and the sites")
    symbols = [site.specie.symbol for site in structure]
    return Atoms(symbols, positions=structure.cart_coords, cell=structure.lattice.matrix, pbc=(True, True, False))


def check_slab(structure: Structure) -> None:
    """Refuse what is not an ordered slab.

    Raises
    ------
    PotentialError
        If the structure is empty, disordered or not in the convention of `microscopy.slab`.
    """
    formula = structure.composition.hill_formula or "empty structure"
    if len(structure) == 0 or not structure.is_ordered:
        raise PotentialError(f"{formula}: only an ordered structure with at least one site has an energy")
    matrix = structure.lattice.matrix
    flat = np.allclose(matrix[:2, 2], 0, atol=1e-6) and np.allclose(matrix[2, :2], 0, atol=1e-6)
    if not flat or np.linalg.det(matrix) <= 0:
        raise PotentialError(f"{formula}: not a slab with a and b in the plane and c normal to it; use microscopy.slab")


def to_structure(atoms: Atoms, like: Structure) -> Structure:
    """Sites of `atoms` with the species and properties of `like`, in the slab convention: a along x, centred in z."""
    a, b, _, _, _, gamma = atoms.cell.cellpar()
    c = like.lattice.c
    frac = atoms.cell.scaled_positions(atoms.positions)
    z = atoms.positions[:, 2]
    frac[:, 2] = (z - (z.min() + z.max()) / 2) / c + 0.5
    lattice = Lattice.from_parameters(a, b, c, 90, 90, gamma, vesta=True, pbc=(True, True, False))
    return Structure(lattice, like.species, frac, site_properties=like.site_properties)


def shifts(before: Structure, after: Structure) -> Float[np.ndarray, "N 2"]:
    """In-plane displacements (x, y) in Å, in the frame of `after`: free of cell strain, measured from their mean."""
    moved = (after.frac_coords - before.frac_coords)[:, :2]
    moved -= moved.mean(axis=0)
    return np.asarray(moved @ after.lattice.matrix[:2, :2])


def displacements(before: Structure, after: Structure) -> Float[np.ndarray, " N"]:
    """Lengths of `shifts`, Å."""
    return np.asarray(np.linalg.norm(shifts(before, after), axis=1))


def strain(before: Structure, after: Structure) -> Float[np.ndarray, " 3"]:
    """Relative change of a and b, and change of gamma in degrees."""
    old, new = before.lattice, after.lattice
    return np.array([new.a / old.a - 1, new.b / old.b - 1, new.gamma - old.gamma])
