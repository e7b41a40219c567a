"""The embedded library's structures: every decoration of every prototype, relaxed and kept if physical.

Finished decorations are lines of a work file: stopping at any moment loses one decoration.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Composition, Lattice, Structure

from library.decoration import Decoration, decorations, read_prototypes
from library.geometry import BOND_FACTOR, OVERLAP_FACTOR, bond_network, closest_contact
from microscopy.errors import AutoMatError, LibraryError, PotentialError
from microscopy.slab import slab
from models.potentials import Potential, load_potential
from models.relaxation import RelaxOptions, relax_in_plane, to_atoms

POTENTIAL, SOFT_POTENTIAL = "sevennet-0", "sevennet-l3i5"
"""Potentials whose weights ship with the dependencies, so that anyone can repeat the build."""

OPTIONS = RelaxOptions(max_force=0.03, max_steps=80, max_seconds=600.0)
SOFT_OPTIONS = RelaxOptions(max_force=0.005, max_steps=80, max_seconds=600.0)
"""Steps bound the work; the time limit only ends a stuck run, so that the result does not depend on the machine."""

SCALES = (0.94, 1.0, 1.06)
"""First guesses of the size of a decoration relative to its radii, before the relaxation proper."""

MAX_STRAIN = 0.30
"""Largest change of an axis between the scaled start and the result; beyond it the structure type is another one."""

MAX_FLATTENING = 0.5
"""Largest relative change of thickness for layers thicker than `FLAT`; beyond it the layer collapsed or fell apart."""

FLAT = 2.0
"""Å; thinner layers may buckle or flatten freely."""


@dataclass(frozen=True, eq=False)
class Generated:
    """A relaxed decoration, or why there is none.

    Attributes
    ----------
    id, prototype
        Readable identifier, and the structure type's name.
    key
        Digest of all that determines the result: start, limits, checkpoint.
    refusal
        Empty when kept, else the reason.
    structure
        Relaxed slab, or None when refused.
    energy_per_atom
        eV/atom, or None.
    steps
        Optimiser steps.
    """

    id: str
    prototype: str
    key: str
    refusal: str
    structure: Structure | None
    energy_per_atom: float | None
    steps: int


def all_decorations() -> list[Decoration]:
    """Every decoration: those with a published lattice first, then by number of atoms."""
    found = [decoration for prototype in read_prototypes() for decoration in decorations(prototype)]
    return sorted(found, key=lambda d: (not _published(d), len(d.prototype.sites)))


def generate(work: Path, progress: Callable[[int, int, str], None] | None = None) -> Iterator[Generated]:
    """Yield every decoration relaxed, in a fixed order, taking finished ones from `work` and appending new ones.

    Raises
    ------
    LibraryError
        If `work` holds something else than this function's lines.
    """
    finished = {item.key: item for item in read_generated(work)}
    todo = all_decorations()
    for number, decoration in enumerate(todo):
        start = decoration.structure()
        soft = decoration.prototype.soft
        potential, limits = load_potential(SOFT_POTENTIAL if soft else POTENTIAL), SOFT_OPTIONS if soft else OPTIONS
        key = _key(start, potential, limits)
        item = finished.get(key)
        if item is None:
            item = relax_decoration(decoration, start, key, potential, limits)
            with work.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(_to_json(item)) + "\n")
        if progress is not None:
            progress(number + 1, len(todo), f"{item.id} {item.refusal or 'kept'}")
        # The same start may belong to two prototypes under two names.
        yield replace(item, id=decoration.id, prototype=decoration.prototype.name)


def relax_decoration(
    decoration: Decoration, start: Structure, key: str, potential: Potential, limits: RelaxOptions = OPTIONS
) -> Generated:
    """Scale, relax and judge one decoration; a failure is a refusal with its reason, never an exception."""
    refused = Generated(decoration.id, decoration.prototype.name, key, "", None, None, 0)
    try:
        scaled = best_scale(start, potential)
        relaxation = relax_in_plane(scaled, potential, limits)
    except PotentialError as error:
        return replace(refused, refusal=f"potential: {_first_clause(error)}")
    except AutoMatError as error:
        return replace(refused, refusal=f"start: {_first_clause(error)}")
    refusal = "not converged" if not relaxation.converged else unphysical(scaled, relaxation.structure)
    if refusal:
        return replace(refused, refusal=refusal, steps=relaxation.steps)
    structure = slab(relaxation.structure)
    return replace(refused, structure=structure, energy_per_atom=relaxation.energy_per_atom, steps=relaxation.steps)


def best_scale(start: Structure, potential: Potential) -> Structure:
    """Start scaled uniformly, heights too, to the minimum of a parabola through three energies.

    A handful of energies here save the optimiser, which has to find cell and heights at once, many steps.
    """
    calculator = potential.calculator()

    def energy(scale: float) -> float:
        atoms = to_atoms(_scaled(start, scale))
        atoms.calc = calculator
        return float(atoms.get_potential_energy())

    scales = list(SCALES)
    energies = [energy(scale) for scale in scales]
    step = scales[1] - scales[0]
    for _ in range(3):
        lowest = int(np.argmin(energies))
        if lowest == 1:
            break
        # The minimum is outside: walk towards it.
        if lowest == 0:
            scales = [scales[0] - step, *scales[:2]]
            energies = [energy(scales[0]), *energies[:2]]
        else:
            scales = [*scales[1:], scales[2] + step]
            energies = [*energies[1:], energy(scales[2])]
    curvature, slope, _ = np.polyfit(np.array(scales) - scales[1], energies, 2)
    shift = -slope / (2 * curvature) if curvature > 0 else 0.0
    return _scaled(start, scales[1] + float(np.clip(shift, -step, step)))


def unphysical(start: Structure, relaxed: Structure) -> str:
    """Why a relaxed decoration is not a monolayer of its type; empty when it is."""
    if closest_contact(relaxed) < OVERLAP_FACTOR:
        return "atoms overlap"
    if bond_network(relaxed).ranks != (2,):
        return f"not one connected layer (bonds within {BOND_FACTOR} × covalent radii)"
    strain = np.abs(np.array(relaxed.lattice.abc[:2]) / np.array(start.lattice.abc[:2]) - 1)
    if strain.max() > MAX_STRAIN:
        return f"cell changed by more than {MAX_STRAIN:.0%}"
    before, after = (float(np.ptp(s.cart_coords[:, 2])) for s in (start, relaxed))
    if before > FLAT and abs(after / before - 1) > MAX_FLATTENING:
        return f"thickness changed by more than {MAX_FLATTENING:.0%}"
    return ""


def read_generated(work: Path) -> Iterable[Generated]:
    """Finished decorations of a work file; an unfinished last line (a killed run) is dropped from the file.

    Raises
    ------
    LibraryError
        If a line in the middle is not one of this module's.
    """
    if not work.exists():
        return []
    text = work.read_text(encoding="utf-8")
    complete = text[: text.rfind("\n") + 1]
    if complete != text:
        work.write_text(complete, encoding="utf-8")
    try:
        return [_from_json(json.loads(line)) for line in complete.splitlines()]
    except (ValueError, KeyError, TypeError) as error:
        raise LibraryError(f"{work}: not a work file of the generator ({error}); give another --work") from error


def _published(decoration: Decoration) -> bool:
    formula = decoration.structure().composition.reduced_formula
    return any(Composition(known.formula).reduced_formula == formula for known in decoration.prototype.known)


def _scaled(structure: Structure, scale: float) -> Structure:
    matrix = structure.lattice.matrix * scale
    return slab(Structure(Lattice(matrix), structure.species, structure.frac_coords))


def _key(start: Structure, potential: Potential, options: RelaxOptions) -> str:
    numbers = [site.specie.Z for site in start]
    state = [np.round(start.lattice.matrix, 6).tolist(), np.round(start.frac_coords, 6).tolist(), numbers]
    limits = [options.max_force, options.max_steps, SCALES, MAX_STRAIN, MAX_FLATTENING, potential.checkpoint]
    return hashlib.sha256(json.dumps([state, limits]).encode()).hexdigest()[:24]


def _first_clause(error: AutoMatError) -> str:
    """Return the general part of a message, without the formula it starts with, so that reasons can be counted."""
    return str(error).split(": ", 1)[-1].split(";")[0][:80]


def _to_json(item: Generated) -> dict[str, Any]:
    line: dict[str, Any] = {"id": item.id, "prototype": item.prototype, "key": item.key, "refusal": item.refusal}
    if item.structure is not None:
        line["numbers"] = [int(site.specie.Z) for site in item.structure]
        line["cell"] = np.round(item.structure.lattice.matrix, 6).tolist()
        line["frac"] = np.round(item.structure.frac_coords, 7).tolist()
    return {**line, "energy_per_atom": item.energy_per_atom, "steps": item.steps}


def _from_json(line: dict[str, Any]) -> Generated:
    structure = None
    if "numbers" in line:
        lattice = Lattice(line["cell"], pbc=(True, True, False))
        structure = Structure(lattice, line["numbers"], line["frac"])
    return Generated(
        line["id"], line["prototype"], line["key"], line["refusal"], structure, line["energy_per_atom"], line["steps"]
    )
