"""The one convention for a monolayer: a slab periodic in the plane, with vacuum along c.

Every structure that crosses a package boundary is such a slab: a along +x, b in the xy plane with
positive y component, c along +z and aperiodic, sites unwrapped through z and centred at c / 2.
Seen in an image, x is the column and y the row (down), so c points away from the viewer.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from pymatgen.core import Lattice, Structure

from microscopy.errors import AutoMatError

VACUUM = 20.0
"""Å of empty space between periodic images along c: beyond every cut-off of the potentials used."""


class SlabError(AutoMatError):
    """A structure cannot be seen as a monolayer in vacuum."""

    stage = "structure"


def slab(structure: Structure, vacuum: float = VACUUM) -> Structure:
    """Bring a layered structure into the slab convention, keeping its in-plane cell choice.

    Parameters
    ----------
    structure
        Any ordered structure with one layer per cell and vacuum along its third axis.
    vacuum
        Å of empty space in the result, thickness excluded.

    Returns
    -------
    Structure
        The same sites in the same order, in the convention of this module.

    Raises
    ------
    SlabError
        If the structure is disordered or its in-plane cell is degenerate.
    """
    if not structure.is_ordered:
        raise SlabError(f"{structure.composition.reduced_formula}: sites are disordered; give an ordered structure")
    a, b, c = structure.lattice.matrix
    normal = np.cross(a, b)
    area = float(np.linalg.norm(normal))
    if area < 1e-3:
        raise SlabError(
            f"{structure.composition.reduced_formula}: a and b are parallel; the third axis must be the vacuum axis"
        )
    normal /= area
    height = abs(float(c @ normal))
    # Only the periodicity along c is given up: shifting a site by c must not move it in the plane.
    frac = structure.frac_coords.copy()
    frac[:, 2] = _unwrapped(frac[:, 2])
    cart = frac @ structure.lattice.matrix
    z = cart @ (normal * np.sign(c @ normal))
    in_plane = _plane_cell(a, b)
    # In-plane fractional coordinates, measured along the normal so that a tilted c does not shear the slab.
    basis = np.vstack([a, b, normal])
    plane_frac = (cart @ np.linalg.inv(basis))[:, :2] % 1.0
    thickness = float(np.ptp(z)) if len(z) else 0.0
    if thickness > height + 1e-6:
        raise SlabError(f"{structure.composition.reduced_formula}: no vacuum along the third axis")
    new_c = thickness + vacuum
    new_z = z - (z.min() + z.max()) / 2 + new_c / 2
    matrix = np.zeros((3, 3))
    matrix[:2, :2] = in_plane
    matrix[2, 2] = new_c
    coords = np.column_stack([plane_frac, new_z / new_c])
    return Structure(Lattice(matrix, pbc=(True, True, False)), structure.species, coords)


def plane_cell(structure: Structure) -> Float[np.ndarray, "2 2"]:
    """Rows a, b as (x, y) in Å of a slab."""
    return np.asarray(structure.lattice.matrix[:2, :2], dtype=float)


def _unwrapped(z: np.ndarray) -> np.ndarray:
    """Fractional heights moved by integers so that the largest empty gap lies outside the layer."""
    z = z % 1.0
    order = np.argsort(z)
    gaps = np.diff(np.append(z[order], z[order[0]] + 1.0))
    bottom = float(z[order[(int(np.argmax(gaps)) + 1) % len(z)]])
    return np.asarray(bottom + (z - bottom) % 1.0)


def _plane_cell(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """In-plane cell with a along +x and b of positive y."""
    length_a, length_b = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    cos = float(a @ b) / (length_a * length_b)
    return np.array([[length_a, 0.0], [length_b * cos, length_b * float(np.sqrt(max(0.0, 1.0 - cos**2)))]])
