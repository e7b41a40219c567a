"""One decoration of a prototype: scaled, relaxed in the plane, and kept if it is a physical monolayer of its type."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
from pymatgen.core import Lattice, Structure

from library.decoration import Decoration
from library.geometry import BOND_FACTOR, OVERLAP_FACTOR, bond_network, closest_contact
from library.work_file import Generated
from microscopy.errors import AutoMatError, PotentialError
from microscopy.slab import slab
from models.potentials import Potential
from models.relaxation import RelaxOptions, relax_in_plane, to_atoms

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


def _scaled(structure: Structure, scale: float) -> Structure:
    matrix = structure.lattice.matrix * scale
    return slab(Structure(Lattice(matrix), structure.species, structure.frac_coords))


def _first_clause(error: AutoMatError) -> str:
    """Return the general part of a message, without formula and numbers, so that reasons can be counted."""
    clause = str(error).split(": ", 1)[-1].split(";")[0]
    return re.sub(r"\s*\([^)]*\)", "", clause)[:80]
