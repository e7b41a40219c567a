"""The path of a relaxation as a file that viewers play."""

from __future__ import annotations

from io import StringIO

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from models.records import RelaxationPath


def to_extxyz(path: RelaxationPath) -> str:
    """Frames as extended XYZ, periodic in the plane only.

    Each frame has its ``energy`` in eV, its ``step`` and the ``max_force`` left there in eV/Å.
    """
    frames = []
    for step, positions, cell in zip(path.frames, path.positions, path.cells, strict=True):
        info = {"step": int(step), "max_force": float(path.max_forces[step])}
        atoms = Atoms(path.numbers, positions=positions, cell=cell, pbc=(True, True, False), info=info)
        atoms.calc = SinglePointCalculator(atoms, energy=float(path.energies[step]))
        frames.append(atoms)
    text = StringIO()
    write(text, frames, format="extxyz")
    return text.getvalue()
