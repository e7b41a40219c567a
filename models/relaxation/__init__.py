"""Relaxation of slabs: sites move freely, the cell only in its plane; one structure, or many on one device."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from ase.constraints import FixedLine
from pymatgen.core import Structure

from microscopy.errors import PotentialError
from models.batch import evaluate
from models.potentials import Potential
from models.records import Relaxation
from models.relaxation.descent import Minimum, RelaxOptions, Run, descent, minimise, together
from models.relaxation.slabs import check_slab, displacements, strain, to_atoms, to_structure
from models.relaxation.starts import DISTINCT, Start, difference, height_starts

__all__ = ["Minimum", "RelaxOptions", "minimise", "relax_batch", "relax_in_plane", "to_atoms"]

IN_PLANE = (1, 1, 0, 0, 0, 1)
"""Voigt components of the cell that relax: xx, yy and xy."""

NO_CELL = (0, 0, 0, 0, 0, 0)

SCREEN_STEPS = 12
"""Steps along z, in-plane positions fixed, after which starts are compared."""

SCREEN_SHARE = 0.4
"""Share of the seconds that the comparison of starts may take."""

FINALISTS = 2
"""Starts that are relaxed to the end."""

TIE = 0.001
"""eV/atom by which another start has to be lower to be preferred to the structure as it came."""

T = TypeVar("T")


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
    (outcome,) = relax_batch([structure], potential, options)
    if isinstance(outcome, PotentialError):
        raise outcome
    return outcome


def relax_batch(
    structures: Sequence[Structure], potential: Potential, options: RelaxOptions | None = None
) -> list[Relaxation | PotentialError]:
    """Relax several slabs in lockstep, with one evaluation for all of them at each step.

    Parameters
    ----------
    structures, potential, options
        As in `relax_in_plane`. `RelaxOptions.max_seconds` is for each structure, so that a batch of n has n times it.

    Returns
    -------
    list of Relaxation or PotentialError
        In the order of the structures; one that fails leaves its error and does not disturb the others.
    """
    options = options or RelaxOptions()
    seconds = options.max_seconds * len(structures)
    runs = [_relaxing(structure, potential, options, seconds) for structure in structures]
    return _drive(together(runs), potential)


def _drive(run: Run[T], potential: Potential) -> T:
    while True:
        try:
            wanted = next(run)
        except StopIteration as end:
            result: T = end.value
            return result
        evaluate(wanted, potential)


@dataclass(frozen=True, eq=False)
class _Tried:
    """A start, where its heights went, in Å, and eV of the cell there."""

    start: Start
    heights: np.ndarray
    energy: float


@dataclass(frozen=True, eq=False)
class _Finished(_Tried):
    """The same, relaxed to the end."""

    minimum: Minimum
    relaxed: Structure


def _relaxing(structure: Structure, potential: Potential, options: RelaxOptions, seconds: float) -> Run[Relaxation]:
    begun = time.monotonic()
    check_slab(structure)
    if options.heights == "tried":
        starts = height_starts(structure)
        tried = yield from _screened(starts, options, begun + SCREEN_SHARE * seconds)
    else:
        starts = [Start("as given", structure)]
        tried = [_Tried(starts[0], structure.cart_coords[:, 2], np.inf)]
    finals = yield from together([_finishing(each, options, begun + seconds) for each in tried[:FINALISTS]])
    finished = _succeeded(finals)
    best = min(finished, key=lambda each: each.energy - TIE * len(structure) * (each.start.name == "as given"))
    others = [*finished, *tried[FINALISTS:]]
    rest = [each.energy for each in others if difference(each.heights, best.heights) > DISTINCT]
    record = _record(best.start.structure, best.relaxed, best.minimum, potential)
    runner_up = min(rest) / len(structure) if rest else None
    return replace(record, starts=len(starts), chosen=best.start.name, runner_up_energy_per_atom=runner_up)


def _screened(starts: Sequence[Start], options: RelaxOptions, deadline: float) -> Run[list[_Tried]]:
    """Relax the starts a little along z; those that end apart, the lowest energy first."""
    limits = replace(options, max_steps=SCREEN_STEPS, keep_symmetry=False)
    outcomes = yield from together([_along_z(start, limits, deadline) for start in starts])
    distinct: list[_Tried] = []
    for each in sorted(_succeeded(outcomes), key=lambda each: each.energy):
        if all(difference(each.heights, other.heights) > DISTINCT for other in distinct):
            distinct.append(each)
    return distinct


def _along_z(start: Start, limits: RelaxOptions, deadline: float) -> Run[_Tried]:
    atoms = to_atoms(start.structure)
    atoms.set_constraint(FixedLine(range(len(atoms)), (0, 0, 1)))
    minimum = yield from descent(atoms, NO_CELL, limits, deadline)
    moved = to_structure(atoms, start.structure)
    return _Tried(Start(start.name, moved), moved.cart_coords[:, 2], minimum.energy)


def _finishing(tried: _Tried, options: RelaxOptions, deadline: float) -> Run[_Finished]:
    atoms = to_atoms(tried.start.structure)
    minimum = yield from descent(atoms, IN_PLANE, options, deadline)
    relaxed = to_structure(atoms, tried.start.structure)
    return _Finished(tried.start, relaxed.cart_coords[:, 2], minimum.energy, minimum, relaxed)


def _succeeded(outcomes: Sequence[T | PotentialError]) -> list[T]:
    """Outcomes that are no errors; the first error when all are."""
    found = [outcome for outcome in outcomes if not isinstance(outcome, PotentialError)]
    if not found:
        raise next(outcome for outcome in outcomes if isinstance(outcome, PotentialError))
    return found


def _record(start: Structure, relaxed: Structure, minimum: Minimum, potential: Potential) -> Relaxation:
    count = len(start)
    return Relaxation(
        structure=relaxed,
        potential=potential.name,
        checkpoint=potential.checkpoint,
        scale=potential.scale,
        energy_per_atom=minimum.energy / count,
        formation_energy_per_atom=None,
        initial_energy_per_atom=float(minimum.path.energies[0]) / count,
        steps=minimum.steps,
        converged=minimum.converged,
        max_force=minimum.max_force,
        displacements=displacements(start, relaxed),
        strain=strain(start, relaxed),
        note="; ".join(note for note in (potential.fallback, minimum.note) if note),
        path=minimum.path,
    )
