"""Formation energies, on the scale of one checkpoint: the compound and the elements from the same weights."""

from __future__ import annotations

from dataclasses import replace

from pymatgen.core import Composition, Structure

from microscopy.errors import PotentialError
from models.elements import REFERENCE_OPTIONS, References, elemental_references
from models.potentials import Potential
from models.records import Relaxation
from models.relaxation import RelaxOptions, relax_in_plane

LOWEST = -6.0
"""eV/atom; the most stable compounds (fluorides and oxides of groups 2 to 4) reach -4.5. Lower is an artefact."""


def relax(structure: Structure, potential: Potential, options: RelaxOptions | None = None) -> Relaxation:
    """Relax a slab in its plane and refer its energy to the elements.

    Parameters
    ----------
    structure
        Slab in the convention of `microscopy.slab`; not changed.
    potential, options
        As in `models.relaxation.relax_in_plane`.

    Returns
    -------
    Relaxation
        With a formation energy, or with None and the reason in `Relaxation.note`.

    Raises
    ------
    PotentialError
        As in `models.relaxation.relax_in_plane`.
    """
    options = options or RelaxOptions()
    relaxation = relax_in_plane(structure, potential, options)
    limits = replace(REFERENCE_OPTIONS, max_seconds=options.max_seconds)
    references = elemental_references(structure.composition.as_dict(), potential, limits)
    energy = formation_energy_per_atom(relaxation.energy_per_atom, structure.composition, potential, references)
    notes = [relaxation.note]
    if references.missing:
        reasons = ", ".join(f"{element} ({reason})" for element, reason in sorted(references.missing.items()))
        notes.append(f"no formation energy: no reference for {reasons}")
    if energy is not None and energy < LOWEST:
        notes.append(f"no formation energy: {potential.name} gives {energy:.3g} eV/atom, which no compound has")
        energy = None
    if energy is not None and potential.scale != "PBE":
        notes.append(
            f"the energy scale of {potential.name} is {potential.scale}; check it before comparing with others"
        )
    return replace(relaxation, formation_energy_per_atom=energy, note="; ".join(note for note in notes if note))


def formation_energy_per_atom(
    energy_per_atom: float, composition: Composition, potential: Potential, references: References
) -> float | None:
    """Energy of formation from the elements: E − Σ x_i E_i, in eV/atom.

    Returns None if an element has no reference (`References.missing` says why).

    Raises
    ------
    PotentialError
        If the references belong to another checkpoint: their scales must not be mixed.
    """
    if references.checkpoint != potential.checkpoint:
        raise PotentialError(
            f"references of checkpoint {references.checkpoint[:8]} cannot be used with {potential.name} "
            f"({potential.checkpoint[:8]}); make them with the same checkpoint"
        )
    fractions = composition.element_composition.fractional_composition.as_dict()
    if not fractions.keys() <= references.found.keys():
        return None
    return energy_per_atom - sum(x * references.found[element].energy_per_atom for element, x in fractions.items())
