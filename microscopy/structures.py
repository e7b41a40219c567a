"""Read a structure file and bring it into the slab convention."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from pymatgen.core.structure import Structure

from microscopy.errors import AutoMatError, SimulationError
from microscopy.slab import slab

MIN_VACUUM = 6.0
"""Å between layers along the stacking axis: twice a van der Waals gap; less is a bulk crystal."""
MAX_BYTES = 50_000_000
MAX_SITES = 2000
"""A primitive cell of a monolayer has tens of atoms; a file of more is something else."""


def load_structure(path: str | Path) -> Structure:
    """Read a monolayer from CIF, POSCAR, extended XYZ or any other format that ASE knows.

    Parameters
    ----------
    path
        One periodic structure with vacuum along one cell axis, whichever.

    Returns
    -------
    Structure
        Slab in the convention of ``microscopy.slab``.

    Raises
    ------
    SimulationError
        When the file cannot be read as a crystal, or the crystal is no monolayer in vacuum.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as error:
        raise SimulationError(f"{path}: {error.strerror or error}") from error
    if not 0 < size <= MAX_BYTES:
        raise SimulationError(f"{path}: {size} bytes is no structure file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of symmetry rounding and missing symbols; what counts is checked here
            structure = _read(path)
    except Exception as error:  # parsers raise whatever their format trips over
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise SimulationError(f"{path}: not readable as a crystal structure ({reason})") from error
    if not 0 < len(structure) <= MAX_SITES:
        raise SimulationError(f"{path}: {len(structure)} sites; a monolayer's cell has 1 to {MAX_SITES}")
    try:
        return slab(_vacuum_last(structure, path))
    except SimulationError:
        raise
    except AutoMatError as error:
        raise SimulationError(f"{path}: {error}") from error


def _read(path: Path) -> Structure:
    """Parse with pymatgen where it is the better parser, else with ASE."""
    name = path.name.lower()
    if name.endswith(".cif"):
        from pymatgen.io.cif import CifParser

        # Symmetrised, not reduced: the in-plane cell is the author's choice.
        return CifParser(str(path)).parse_structures(primitive=False)[0]
    from ase import Atoms
    from ase.io import read
    from pymatgen.io.ase import AseAtomsAdaptor

    vasp = "poscar" in name or "contcar" in name or name.endswith(".vasp")
    atoms = read(path, format="vasp" if vasp else None)
    if not isinstance(atoms, Atoms):
        raise ValueError("it holds several structures")
    if abs(atoms.cell.volume) < 1e-3:
        raise ValueError("it has no periodic cell")
    return AseAtomsAdaptor.get_structure(atoms)


def _vacuum_last(structure: Structure, path: Path) -> Structure:
    """Reorder the axes so that the widest gap between atoms lies along the third."""
    lattice = structure.lattice
    gaps = []
    for axis in range(3):
        spacing = lattice.volume / float(np.linalg.norm(np.cross(*np.delete(lattice.matrix, axis, axis=0))))
        heights = np.sort(structure.frac_coords[:, axis] % 1.0)
        gaps.append(float(np.max(np.diff(np.append(heights, heights[0] + 1.0)))) * spacing)
    if max(gaps) < MIN_VACUUM:
        raise SimulationError(
            f"{path}: no vacuum; the widest gap between atomic layers is {max(gaps):.1f} Å, and a monolayer has at "
            f"least {MIN_VACUUM:.0f} Å: cut one layer out of the bulk crystal"
        )
    # The usual axis wins unless another is clearly emptier: a sparse cell has gaps in the plane, too.
    axis = 2 if gaps[2] >= MIN_VACUUM else int(np.argmax(gaps))
    order = [(axis + 1) % 3, (axis + 2) % 3, axis]
    from pymatgen.core.lattice import Lattice

    return Structure(Lattice(lattice.matrix[order]), structure.species_and_occu, structure.frac_coords[:, order])
