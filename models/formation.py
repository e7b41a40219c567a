"""Formation energies: one elemental ground state per element and checkpoint, all on the checkpoint's own scale.

The ground states are the lowest-energy elemental structures of the Materials Project (PBE), as shipped by
``matcalc``; each is relaxed in all directions with the potential that is to be referred to it. The references of
the embedded potential are shipped; they are made by ``python -m models.formation --potential sevennet-0 --out
models/references``.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import platformdirs
from pymatgen.core import Composition, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from microscopy.errors import PotentialError
from models.potentials import Potential, load_potential
from models.records import Relaxation
from models.relaxation import Minimum, RelaxOptions, minimise, relax_in_plane

SOURCE = "MP-PBE-Element-Refs.json.gz"
"""matcalc's file of elemental structures and DFT energies (Materials Project, PBE)."""

SHIPPED = Path(__file__).parent / "references"
SCHEMA = 1
ALL_CELL = (1, 1, 1, 1, 1, 1)

LOWEST = -6.0
"""eV/atom; the most stable compounds (fluorides and oxides of groups 2 to 4) reach -4.5. Lower is an artefact."""

REFERENCE_OPTIONS = RelaxOptions(max_force=0.02, max_steps=500, max_seconds=900.0)
"""Residual forces below 0.02 eV/Å leave less than 1 meV/atom in an elemental crystal."""


@dataclass(frozen=True)
class ElementalReference:
    """The relaxed ground state of an element.

    Attributes
    ----------
    energy_per_atom, dft_energy_per_atom
        eV/atom with the potential, and in the source.
    structure_id
        ``<source entry>:<index>``, the space group and the number of sites of the structure relaxed.
    steps, converged, max_force
        How the relaxation ended; max_force in eV/Å.
    """

    energy_per_atom: float
    dft_energy_per_atom: float
    structure_id: str
    steps: int
    converged: bool
    max_force: float


@dataclass(frozen=True)
class References:
    """Elemental references of one checkpoint.

    Attributes
    ----------
    checkpoint
        sha256 of the weights that they were relaxed with.
    found
        Reference of each element that has one.
    missing
        Reason for each element asked for that has none.
    """

    checkpoint: str
    found: Mapping[str, ElementalReference]
    missing: Mapping[str, str]


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


def elemental_references(
    elements: Iterable[str], potential: Potential, options: RelaxOptions = REFERENCE_OPTIONS
) -> References:
    """Find the references of `elements`: shipped, else from the user's cache, else relaxed now and cached.

    A reference that does not converge within `options` is reported as missing and not cached.
    """
    shipped = _shipped(potential.checkpoint)
    found: dict[str, ElementalReference] = {}
    missing: dict[str, str] = {}
    for element in sorted(set(elements)):
        known = shipped.get(element) or _cached(potential, element)
        outcome = known or _computed(potential, element, options)
        if isinstance(outcome, str):
            missing[element] = outcome
        else:
            found[element] = outcome
    return References(potential.checkpoint, found, missing)


def cache_folder() -> Path:
    """Folder of the project's cache: ``AUTOMAT_CACHE``, or the user's cache folder of this platform."""
    given = os.environ.get("AUTOMAT_CACHE", "").strip()
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("automat"))


def _computed(potential: Potential, element: str, options: RelaxOptions) -> ElementalReference | str:
    """Relax the ground state of an element and cache it; a string says why there is none."""
    if element not in potential.elements:
        return f"{potential.name} was not trained on it"
    state = ground_state(element)
    if state is None:
        return f"matcalc {version('matcalc')} has no elemental structure"
    structure, dft_energy, structure_id = state
    atoms = AseAtomsAdaptor.get_atoms(structure)
    atoms.calc = potential.calculator()
    try:
        minimum: Minimum = minimise(atoms, ALL_CELL, options)
    except PotentialError as error:
        return str(error)
    if not minimum.converged:
        return f"its ground state: {minimum.note}"
    reference = ElementalReference(
        energy_per_atom=minimum.energy / len(atoms),
        dft_energy_per_atom=dft_energy,
        structure_id=structure_id,
        steps=minimum.steps,
        converged=True,
        max_force=minimum.max_force,
    )
    with suppress(OSError):  # the cache saves time only
        _write_json(_cache_file(potential, element), {"checkpoint": potential.checkpoint, **asdict(reference)})
    return reference


def ground_state(element: str) -> tuple[Structure, float, str] | None:
    """Pick the lowest-energy structure of an element, with its DFT energy (eV/atom) and identity."""
    entry = _source().get(element)
    if entry is None:
        return None
    energies = [float(value) for value in entry["energy_per_atom"]]
    index = energies.index(min(energies))
    structure = Structure.from_dict(entry["structure"][index])
    symbol, _ = structure.get_space_group_info()
    return structure, energies[index], f"{element}:{index} {symbol} {len(structure)} sites"


def _source_path() -> Path:
    import matcalc

    return Path(matcalc.__file__).parent / "elemental_refs" / SOURCE


@cache
def _source() -> dict[str, Any]:
    with gzip.open(_source_path(), "rt", encoding="utf-8") as stream:
        content: dict[str, Any] = json.load(stream)
    return content


@cache
def _shipped(checkpoint: str) -> dict[str, ElementalReference]:
    """Read the references shipped for a checkpoint, by element; empty when there are none."""
    for path in sorted(SHIPPED.glob(f"*-{checkpoint[:8]}.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["manifest"]["checkpoint"] == checkpoint:
            return {element: ElementalReference(**values) for element, values in content["references"].items()}
    return {}


def _cache_file(potential: Potential, element: str) -> Path:
    return cache_folder() / "references" / f"v{SCHEMA}" / potential.checkpoint / f"{element}.json"


def _cached(potential: Potential, element: str) -> ElementalReference | None:
    """Read a reference from the user's cache; a file that cannot be read is as good as none and is written anew."""
    try:
        values = json.loads(_cache_file(potential, element).read_text(encoding="utf-8"))
        if values.pop("checkpoint") != potential.checkpoint:
            return None
        return ElementalReference(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)


def write_references(potential: Potential, folder: Path, elements: Iterable[str]) -> Path:
    """Relax (or take from the cache) the references of `elements` and write them with their manifest.

    Returns the file written, ``<folder>/<name>-<first 8 of the checkpoint>.json``. Progress goes to stderr.
    """
    found: dict[str, ElementalReference] = {}
    missing: dict[str, str] = {}
    for element in sorted(set(elements)):
        outcome = _cached(potential, element) or _computed(potential, element, REFERENCE_OPTIONS)
        if isinstance(outcome, str):
            missing[element] = outcome
        else:
            found[element] = outcome
        sys.stderr.write(f"{element}: {outcome if isinstance(outcome, str) else outcome.energy_per_atom}\n")
    path = folder / f"{potential.name.replace(':', '-')}-{potential.checkpoint[:8]}.json"
    manifest = {
        "schema": SCHEMA,
        "potential": potential.name,
        "checkpoint": potential.checkpoint,
        "scale": potential.scale,
        "source": f"matcalc {version('matcalc')} {SOURCE}",
        "source_sha256": hashlib.sha256(_source_path().read_bytes()).hexdigest(),
        "ground_state": "lowest DFT energy per atom in the source, relaxed in all directions, symmetry kept",
        "max_force": REFERENCE_OPTIONS.max_force,
        "command": f"python -m models.formation --potential {potential.name} --out models/references",
    }
    references = {element: asdict(reference) for element, reference in found.items()}
    _write_json(path, {"manifest": manifest, "missing": missing, "references": references})
    return path


def main(arguments: list[str] | None = None) -> int:
    """Make a file of references; an interrupted run resumes from the cache."""
    parser = argparse.ArgumentParser(prog="python -m models.formation", description=main.__doc__)
    parser.add_argument("--potential", required=True, help="name of a potential, or path of a MatterSim checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="folder of the file to write")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    try:
        potential = load_potential(given.potential, given.device)
        path = write_references(potential, given.out, potential.elements | _source().keys())
    except (PotentialError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
