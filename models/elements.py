"""Elemental references: one relaxed ground state per element and checkpoint, shipped, cached or made now.

The ground states are the lowest-energy elemental structures of the Materials Project (PBE), as shipped by
``matcalc``; each is relaxed in all directions with the potential that is to be referred to it. The references of
the embedded potentials are shipped; ``automat references build --potential NAME --out models/references`` makes them.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from microscopy.errors import PotentialError
from models.cache import cache_folder
from models.potentials import Potential
from models.potentials.weights import write_text
from models.relaxation import Minimum, RelaxOptions, minimise

SOURCE = "MP-PBE-Element-Refs.json.gz"
"""matcalc's file of elemental structures and DFT energies (Materials Project, PBE)."""

SHIPPED = Path(__file__).parent / "references"
SCHEMA = 1
ALL_CELL = (1, 1, 1, 1, 1, 1)

REFERENCE_OPTIONS = RelaxOptions(max_force=0.02, max_steps=500, max_seconds=900.0)
"""Residual forces below 0.02 eV/Å leave less than 1 meV/atom in an elemental crystal."""


MAX_GAIN = 0.1
"""eV/atom. The DFT ground state is all but relaxed: both SevenNets gain at most 0.06 (F), but for an oxygen crystal
that SevenNet-l3i5 turns into something 0.25 lower, by which every oxide would be wrong in its share of oxygen."""

DEGENERATE = 0.005
"""eV/atom; structures this close to the lowest stand for the element as well as it does."""

GroundState = tuple[Structure, float, str]
"""Structure, its DFT energy in eV/atom, and its identity."""


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


def elemental_references(
    elements: Iterable[str],
    potential: Potential,
    options: RelaxOptions = REFERENCE_OPTIONS,
    *,
    shipped: bool = True,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> References:
    """Find the references of `elements`: shipped, else from the user's cache, else relaxed now and cached.

    A reference that does not converge within `options` is reported as missing and not cached.

    Parameters
    ----------
    shipped
        Whether the references that come with the project count.
    progress
        Told of each element, how many are done, and how many there are.
    """
    ready = _shipped(potential.checkpoint) if shipped else {}
    found: dict[str, ElementalReference] = {}
    missing: dict[str, str] = {}
    wanted = sorted(set(elements))
    for done, element in enumerate(wanted):
        if progress:
            progress(element, done, len(wanted))
        outcome = ready.get(element) or _cached(potential, element) or _computed(potential, element, options)
        if isinstance(outcome, str):
            missing[element] = outcome
        else:
            found[element] = outcome
    return References(potential.checkpoint, found, missing)


def all_elements(potential: Potential) -> frozenset[str]:
    """Elements that the potential or the source of ground states knows."""
    return potential.elements | _source().keys()


def _computed(potential: Potential, element: str, options: RelaxOptions) -> ElementalReference | str:
    """Relax the ground state of an element and cache it; a string says why there is none."""
    if element not in potential.elements:
        return f"{potential.name} was not trained on it"
    states = _states(element)
    if not states:
        return f"matcalc {version('matcalc')} has no elemental structure"
    for state in states:
        outcome = _relaxed(state, potential, options)
        if outcome is not None:
            break
    else:
        return f"its ground state falls into a hole of {potential.name}, more than {MAX_GAIN} eV/atom deep"
    if isinstance(outcome, ElementalReference):
        with suppress(OSError):  # the cache saves time only
            _write_json(_cache_file(potential, element), {"checkpoint": potential.checkpoint, **asdict(outcome)})
    return outcome


def _relaxed(state: GroundState, potential: Potential, options: RelaxOptions) -> ElementalReference | str | None:
    """Relax a structure; a string says why there is no energy, and None that it turned into something else."""
    structure, dft_energy, structure_id = state
    atoms = AseAtomsAdaptor.get_atoms(structure)
    atoms.calc = potential.calculator()
    try:
        start = float(atoms.get_potential_energy())
        minimum: Minimum = minimise(atoms, ALL_CELL, options)
    except PotentialError as error:
        return str(error)
    if start - minimum.energy > MAX_GAIN * len(atoms):
        return None
    if not minimum.converged:
        return f"its ground state: {minimum.note}"
    return ElementalReference(
        energy_per_atom=minimum.energy / len(atoms),
        dft_energy_per_atom=dft_energy,
        structure_id=structure_id,
        steps=minimum.steps,
        converged=True,
        max_force=minimum.max_force,
    )


def ground_state(element: str) -> GroundState | None:
    """Pick the lowest-energy structure of an element, with its DFT energy (eV/atom) and identity."""
    return next(iter(_states(element)), None)


def _states(element: str) -> list[GroundState]:
    """Structures of an element whose DFT energies are within `DEGENERATE` of the lowest, lowest first."""
    entry = _source().get(element)
    if entry is None:
        return []
    energies = [float(value) for value in entry["energy_per_atom"]]
    chosen = sorted((energy, index) for index, energy in enumerate(energies) if energy < min(energies) + DEGENERATE)
    structures = [Structure.from_dict(entry["structure"][index]) for _, index in chosen]
    return [
        (structure, energy, f"{element}:{index} {structure.get_space_group_info()[0]} {len(structure)} sites")
        for (energy, index), structure in zip(chosen, structures, strict=True)
    ]


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
    write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


def write_references(potential: Potential, references: References, folder: Path) -> Path:
    """Write references with their manifest, as ``<folder>/<name>-<first 8 of the checkpoint>.json``.

    Raises
    ------
    PotentialError
        If the file cannot be written.
    """
    path = folder / f"{potential.name.replace(':', '-')}-{potential.checkpoint[:8]}.json"
    manifest = {
        "schema": SCHEMA,
        "potential": potential.name,
        "checkpoint": potential.checkpoint,
        "precision": potential.precision,
        "scale": potential.scale,
        "source": f"matcalc {version('matcalc')} {SOURCE}",
        "source_sha256": hashlib.sha256(_source_path().read_bytes()).hexdigest(),
        "ground_state": "lowest DFT energy per atom in the source, relaxed in all directions, symmetry kept; the next "
        f"within {DEGENERATE} eV/atom if it gains more than {MAX_GAIN} eV/atom",
        "max_force": REFERENCE_OPTIONS.max_force,
        "command": f"automat references build --potential {potential.name} --out models/references",
    }
    found = {element: asdict(reference) for element, reference in references.found.items()}
    try:
        _write_json(path, {"manifest": manifest, "missing": references.missing, "references": found})
    except OSError as error:
        raise PotentialError(f"{path}: cannot write: {error.strerror or error}") from error
    return path
