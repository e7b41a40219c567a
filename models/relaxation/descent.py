"""Downhill, one evaluation at a time: an optimisation is a generator that asks for energies, so that many share one."""

from __future__ import annotations

import time
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from ase import Atoms
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from microscopy.errors import PotentialError
from models.records import RelaxationPath

MAX_STEP = 0.1
"""Å per optimiser step; it also bounds the strain per step to 10 %, below the 15 % at which `FixSymmetry` complains."""

SYMMETRY_TOLERANCE = 0.01
"""Å; spglib's usual tolerance for coordinates that were symmetrised or come from DFT."""

MAX_FORCE = 100.0
"""eV/Å left at the end; ten times what a bond bears. Beyond it a potential extrapolates, often into a hole."""

MAX_STRAIN = 0.5
"""Largest |logarithmic strain| of an axis before the run is stopped: the cell is collapsing or falling apart."""

MAX_FRAMES = 50
"""Frames kept of a path, evenly spaced; energies and forces are kept of every step."""

T = TypeVar("T")
Run = Generator[list[Atoms], None, T]
"""Work that yields atoms whose `Atoms.calc` it needs before it goes on; its return value is the result."""


@dataclass(frozen=True)
class RelaxOptions:
    """Limits of a relaxation.

    Attributes
    ----------
    max_force
        eV/Å; convergence limit on each site's force and on the in-plane virial per atom (eV).
    max_steps
        Optimiser steps at most.
    max_seconds
        Wall-clock seconds at most, checked at every step.
    keep_symmetry
        Project forces and stress onto the symmetry of the structure as it came (`SYMMETRY_TOLERANCE`).
    heights
        ``"kept"``: relax from the heights that the structure has. ``"tried"``: they are a guess; try others too
        (`models.relaxation.starts`) and return the lowest energy.
    """

    max_force: float = 0.03
    max_steps: int = 200
    max_seconds: float = 300.0
    keep_symmetry: bool = True
    heights: Literal["kept", "tried"] = "kept"


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where an optimisation ended: eV, steps, eV/Å, the way there, and why it stopped short (empty: converged)."""

    energy: float
    steps: int
    converged: bool
    max_force: float
    path: RelaxationPath
    note: str = ""


def minimise(atoms: Atoms, cell_mask: tuple[int, ...], options: RelaxOptions) -> Minimum:
    """Move `atoms`, which have a calculator, downhill in place; see `descent`."""
    run = descent(atoms, cell_mask, options, time.monotonic() + options.max_seconds)
    while True:
        try:
            next(run)
        except StopIteration as end:
            minimum: Minimum = end.value
            return minimum


def descent(atoms: Atoms, cell_mask: tuple[int, ...], options: RelaxOptions, deadline: float) -> Run[Minimum]:
    """Move `atoms` downhill in place, with the cell components of `cell_mask` (Voigt order) free.

    `Minimum.converged` compares the last forces with the limit; it is never inferred from the number of steps.
    Constraints that the atoms have stay, with `RelaxOptions.keep_symmetry` replaced by the symmetry.

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
    walked = _Walked()
    while True:
        yield [atoms]
        with _quiet():
            max_force = walked.add(atoms, moving.get_forces())
        converged = max_force < options.max_force
        stopped = "" if converged else _why_stop(walked, start, options, deadline)
        if converged or stopped:
            break
        with _quiet():
            optimizer.step()
    energy = walked.energies[-1]
    if not np.isfinite([energy, max_force]).all() or max_force > MAX_FORCE:
        raise PotentialError(
            f"{atoms.get_chemical_formula()}: the relaxation collapsed ({max_force:.3g} eV/Å left after "
            f"{walked.steps} steps); check the elements and the starting structure"
        )
    return Minimum(energy, walked.steps, converged, max_force, walked.path(atoms), stopped)


def together(runs: Sequence[Run[T]]) -> Run[list[T | PotentialError]]:
    """Advance several runs in lockstep; one that fails leaves its error in its place and the others alone."""
    outcomes: dict[int, T | PotentialError] = {}
    while len(outcomes) < len(runs):
        wanted: list[Atoms] = []
        for number, run in enumerate(runs):
            if number in outcomes:
                continue
            try:
                wanted += next(run)
            except StopIteration as end:
                outcomes[number] = end.value
            except PotentialError as error:
                outcomes[number] = error
        if wanted:
            yield wanted
    return [outcomes[number] for number in range(len(runs))]


def _why_stop(walked: _Walked, start: np.ndarray, options: RelaxOptions, deadline: float) -> str:
    """Why a run that has not converged ends here; empty when it goes on."""
    # A start may be squeezed and recover; growing forces, or forces beyond any squeeze, do not come back.
    hopeless = min(max(MAX_FORCE, 2 * walked.max_forces[0]), 10 * MAX_FORCE)
    if not walked.max_forces[-1] <= hopeless:
        return "stopped: forces beyond any bond"
    if _log_strain(start, walked.cells[-1]) > MAX_STRAIN:
        return f"stopped: the cell changed by more than {np.expm1(MAX_STRAIN):.0%}"
    if time.monotonic() > deadline:
        return f"stopped after {options.max_seconds:g} s"
    if walked.steps >= options.max_steps:
        return f"not converged in {walked.steps} steps"
    return ""


class _Walked:
    """What has been evaluated so far."""

    def __init__(self) -> None:
        self.energies: list[float] = []
        self.max_forces: list[float] = []
        self.positions: list[np.ndarray] = []
        self.cells: list[np.ndarray] = []

    @property
    def steps(self) -> int:
        return len(self.energies) - 1

    def add(self, atoms: Atoms, forces: np.ndarray) -> float:
        """Note one evaluation and return its largest force."""
        self.energies.append(float(atoms.get_potential_energy()))
        self.max_forces.append(float(np.linalg.norm(forces, axis=1).max()))
        self.positions.append(np.array(atoms.positions))
        self.cells.append(np.array(atoms.cell))
        return self.max_forces[-1]

    def path(self, atoms: Atoms) -> RelaxationPath:
        kept = np.unique(np.linspace(0, self.steps, min(self.steps + 1, MAX_FRAMES)).round().astype(np.int64))
        return RelaxationPath(
            numbers=np.array(atoms.numbers, dtype=np.int64),
            energies=np.array(self.energies),
            max_forces=np.array(self.max_forces),
            frames=kept,
            positions=np.array([self.positions[step] for step in kept]),
            cells=np.array([self.cells[step] for step in kept]),
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide that the matrix logarithm of a deformation is "inaccurate" at 1e-13, far below the forces' own noise."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "logm result may be inaccurate", RuntimeWarning)
        yield


def _log_strain(before: np.ndarray, after: np.ndarray) -> float:
    """Largest |logarithmic principal strain| between two cells."""
    stretches = np.linalg.svd(np.linalg.solve(before, after), compute_uv=False)
    return float(np.abs(np.log(np.maximum(stretches, 1e-12))).max())
