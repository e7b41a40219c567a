"""Relaxation of a slab: sites move freely, the cell only in its plane."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from pymatgen.core import Lattice, Structure

from microscopy.errors import PotentialError
from models.potentials import Potential
from models.records import Relaxation

IN_PLANE = (1, 1, 0, 0, 0, 1)
"""Voigt components of the cell that relax: xx, yy and xy."""

MAX_STEP = 0.1
"""Å per optimiser step; it also bounds the strain per step to 10 %, below the 15 % at which `FixSymmetry` complains."""

SYMMETRY_TOLERANCE = 0.01
"""Å; spglib's usual tolerance for coordinates that were symmetrised or come from DFT."""

MIN_DISTANCE = 0.4
"""Å; shorter than any bond (H2: 0.74 Å), where a potential's answer means nothing."""

MAX_FORCE = 100.0
"""eV/Å left at the end; ten times what a bond bears. Beyond it a potential extrapolates, often into a hole."""

MAX_STRAIN = 0.5
"""Largest |logarithmic strain| of an axis before the run is stopped: the cell is collapsing or falling apart."""


@dataclass(frozen=True)
class RelaxOptions:
    """Limits of a relaxation.

    Attributes
    ----------
    max_force
        eV/Å; convergence limit on each site's force and on the in-plane virial per atom (eV).
    max_steps, max_seconds
        Optimiser steps and wall-clock seconds, whichever ends first; time is checked at every step.
    keep_symmetry
        Project forces and stress onto the symmetry of the structure as it came (`SYMMETRY_TOLERANCE`).
    """

    max_force: float = 0.03
    max_steps: int = 200
    max_seconds: float = 120.0
    keep_symmetry: bool = True


def relax_in_plane(structure: Structure, potential: Potential, options: RelaxOptions | None = None) -> Relaxation:
    """Relax the sites and the in-plane cell of a slab; c and its direction stay.

    Parameters
    ----------
    structure
        Slab in the convention of `microscopy.slab`; not changed.
    potential
        Gives energies, forces and stress.
    options
        Limits; the defaults of `RelaxOptions` when None.

    Returns
    -------
    Relaxation
        Without formation energy. `Relaxation.converged` is read from the last forces; a run that met a limit is
        returned as it stands, with a note.

    Raises
    ------
    PotentialError
        If the structure is not an ordered slab, has an element the potential does not cover, or the relaxation
        collapses.
    """
    options = options or RelaxOptions()
    atoms = to_atoms(structure)
    atoms.calc = potential.calculator()
    initial_energy = float(atoms.get_potential_energy())
    outcome = minimise(atoms, IN_PLANE, options)
    relaxed = _to_structure(atoms, structure)
    notes = (potential.fallback, outcome.note)
    return Relaxation(
        structure=relaxed,
        potential=potential.name,
        checkpoint=potential.checkpoint,
        scale=potential.scale,
        energy_per_atom=outcome.energy / len(atoms),
        formation_energy_per_atom=None,
        initial_energy_per_atom=initial_energy / len(atoms),
        steps=outcome.steps,
        converged=outcome.converged,
        max_force=outcome.max_force,
        displacements=_displacements(structure, relaxed),
        strain=_strain(structure, relaxed),
        note="; ".join(note for note in notes if note),
    )


@dataclass(frozen=True)
class Minimum:
    """Where an optimisation ended: eV, steps, eV/Å, and why it stopped short (empty when it converged)."""

    energy: float
    steps: int
    converged: bool
    max_force: float
    note: str = ""


def minimise(atoms: Atoms, cell_mask: tuple[int, ...], options: RelaxOptions) -> Minimum:
    """Move `atoms` downhill in place, with the cell components of `cell_mask` (Voigt order) free.

    `Minimum.converged` compares the last forces with the limit; it is never inferred from the number of steps.

    Raises
    ------
    PotentialError
        If a number is not finite, or a force is beyond `MAX_FORCE` at the end: no energy there means anything.
    """
    if options.keep_symmetry:
        atoms.set_constraint(FixSymmetry(atoms, symprec=SYMMETRY_TOLERANCE))
    start = np.array(atoms.cell)
    moving: Any = FrechetCellFilter(atoms, mask=cell_mask)
    optimizer = BFGS(moving, logfile=None, maxstep=MAX_STEP)
    deadline = time.monotonic() + options.max_seconds
    # A start may be squeezed and recover; growing forces, or forces beyond any squeeze, do not come back.
    hopeless = min(max(MAX_FORCE, 2 * _largest(moving.get_forces())), 10 * MAX_FORCE)
    stopped = ""
    with warnings.catch_warnings():
        # The matrix logarithm of a deformation is "inaccurate" at 1e-13, far below the forces' own noise.
        warnings.filterwarnings("ignore", "logm result may be inaccurate", RuntimeWarning)
        for _ in optimizer.irun(fmax=options.max_force, steps=options.max_steps):
            if _largest(moving.get_forces()) > hopeless:
                break
            if _log_strain(start, np.array(atoms.cell)) > MAX_STRAIN:
                stopped = f"stopped: the cell changed by more than {np.expm1(MAX_STRAIN):.0%}"
                break
            if time.monotonic() > deadline:
                stopped = f"stopped after {options.max_seconds:g} s"
                break
    energy = float(atoms.get_potential_energy())
    max_force = _largest(moving.get_forces())
    finite = np.isfinite([energy, max_force]).all() and np.isfinite(atoms.positions).all()
    if not finite or max_force > MAX_FORCE:
        raise PotentialError(
            f"{atoms.get_chemical_formula()}: the relaxation collapsed ({max_force:.3g} eV/Å left after "
            f"{optimizer.nsteps} steps); check the elements and the starting structure"
        )
    converged = max_force < options.max_force
    note = "" if converged else stopped or f"not converged in {optimizer.nsteps} steps"
    return Minimum(energy, int(optimizer.nsteps), converged, max_force, note)


def to_atoms(structure: Structure) -> Atoms:
    """Slab as ASE atoms, periodic in the plane only.

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
    between = structure.distance_matrix[np.triu_indices(len(structure), k=1)]
    nearest = min([*between, *structure.lattice.abc[:2]])
    if nearest < MIN_DISTANCE:
        raise PotentialError(f"{formula}: two sites are {nearest:.2f} Å apart; check the cell and the sites")
    symbols = [site.specie.symbol for site in structure]
    return Atoms(symbols, positions=structure.cart_coords, cell=matrix, pbc=(True, True, False))


def _to_structure(atoms: Atoms, like: Structure) -> Structure:
    """Relaxed sites with the species and properties of `like`, in the slab convention: a along x, centred in z."""
    a, b, _, _, _, gamma = atoms.cell.cellpar()
    c = like.lattice.c
    frac = atoms.cell.scaled_positions(atoms.positions)
    z = atoms.positions[:, 2]
    frac[:, 2] = (z - (z.min() + z.max()) / 2) / c + 0.5
    lattice = Lattice.from_parameters(a, b, c, 90, 90, gamma, vesta=True, pbc=(True, True, False))
    return Structure(lattice, like.species, frac, site_properties=like.site_properties)


def _displacements(before: Structure, after: Structure) -> np.ndarray:
    """In-plane displacements in Å: fractional, so free of cell strain, and measured from their mean."""
    shift = (after.frac_coords - before.frac_coords)[:, :2]
    shift -= shift.mean(axis=0)
    return np.linalg.norm(shift @ after.lattice.matrix[:2, :2], axis=1)


def _strain(before: Structure, after: Structure) -> np.ndarray:
    """Relative change of a and b, and change of gamma in degrees."""
    old, new = before.lattice, after.lattice
    return np.array([new.a / old.a - 1, new.b / old.b - 1, new.gamma - old.gamma])


def _largest(forces: np.ndarray) -> float:
    """Largest norm of a row."""
    return float(np.linalg.norm(forces, axis=1).max())


def _log_strain(before: np.ndarray, after: np.ndarray) -> float:
    """Largest |logarithmic principal strain| between two cells."""
    stretches = np.linalg.svd(np.linalg.solve(before, after), compute_uv=False)
    return float(np.abs(np.log(np.maximum(stretches, 1e-12))).max())
