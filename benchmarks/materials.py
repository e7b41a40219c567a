"""The true structures of a benchmark: monolayers from any source, as slabs, with their DFT energies where known.

Nothing here cleans or symmetrises: the truth is what the source says it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers
from pymatgen.core.structure import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from library.sources import Entry, read_source
from library.store import open_libraries
from microscopy.errors import AutoMatError
from microscopy.multislice import LAST_ELEMENT
from microscopy.slab import plane_cell, slab
from models.elements import ground_state
from reconstruction.symmetry import layer_symmetry

LOW_SYMMETRY = 4
"""Operations: oblique and rectangular layers without more."""

DARK, BRIGHT = 1e4, 3e4
"""e/Å²: below the first an image is dark, from the second on bright."""


class BenchmarkError(AutoMatError):
    """A benchmark cannot be run as asked for."""

    stage = "benchmark"


@dataclass(frozen=True, eq=False)
class Material:
    """One true monolayer.

    Attributes
    ----------
    id
        Its name in the source.
    structure
        Slab, in the source's own in-plane cell.
    formation_energy
        eV/atom, DFT against the Materials Project's elemental references (PBE); None when the source has no energy.
    """

    id: str
    structure: Structure
    formation_energy: float | None = None

    @property
    def formula(self) -> str:
        """Reduced formula."""
        return str(self.structure.composition.reduced_formula)

    @property
    def area(self) -> float:
        """Area of the cell in Å²."""
        return float(abs(np.linalg.det(plane_cell(self.structure))))

    @property
    def elements(self) -> tuple[str, ...]:
        """Symbols, sorted."""
        return tuple(sorted({site.specie.symbol for site in self.structure}))


def tier(material: Material, dose: float | None) -> int:
    """Difficulty, after STEM2Mat: 1 simple and bright, 3 dark, or complex and not bright, 2 anything between.

    Complex: three elements or more, or at most `LOW_SYMMETRY` operations in the layer group. STEM2Mat does not publish
    the numbers that divide its tiers; these are ours.
    """
    try:
        operations = layer_symmetry(material.structure).operations
    except AutoMatError:
        operations = 1
    is_complex = len(material.elements) > 2 or operations <= LOW_SYMMETRY
    if dose is not None and dose < DARK:
        return 3
    if dose is not None and dose < BRIGHT:
        return 3 if is_complex else 2
    return 2 if is_complex else 1


def load_materials(source: Path | None, ids: Sequence[str] | None = None) -> tuple[list[Material], dict[str, str]]:
    """Read every usable monolayer of a source.

    Parameters
    ----------
    source
        ASE database, structure file, folder or zip of them; None for the embedded library.
    ids
        Take only these.

    Returns
    -------
    tuple
        Materials in the order of the source, and why each other entry cannot be used, by id.

    Raises
    ------
    BenchmarkError
        If nothing usable is found.
    """
    wanted = None if ids is None else frozenset(ids)
    found: dict[str, Material] = {}
    refused: dict[str, str] = {}
    for id, structure, energy in _entries(source, refused):
        if wanted is not None and id not in wanted:
            continue
        heavy = [symbol for symbol in structure.symbol_set if atomic_numbers[symbol] > LAST_ELEMENT]
        if heavy:
            refused[id] = f"no scattering factors for {', '.join(heavy)}"
            continue
        try:
            found[id] = Material(id, slab(structure), energy)
        except AutoMatError as error:
            refused[id] = str(error)
    for id in sorted((wanted or frozenset()) - found.keys() - refused.keys()):
        refused[id] = "not in the source"
    if not found:
        raise BenchmarkError(f"{source or 'the embedded library'}: no usable monolayer among {len(refused)} entries")
    return list(found.values()), refused


def draw(materials: Sequence[Material], limit: int | None, seed: int) -> list[Material]:
    """The first ``limit`` of one shuffled order: a longer draw repeats a shorter one."""
    order = np.random.default_rng(seed).permutation(len(materials))
    return [materials[i] for i in order[:limit]]


def _entries(source: Path | None, refused: dict[str, str]) -> Iterator[tuple[str, Structure, float | None]]:
    if source is None:
        library = open_libraries(None)
        for row in range(len(library)):
            template = library.template(row)
            yield template.id, template.structure, None
    elif source.suffix == ".db":
        yield from _database(source)
    else:
        for item in read_source(source):
            if isinstance(item, Entry):
                yield item.id, item.structure, None
            else:
                refused[item.id] = item.detail or item.reason


def _database(source: Path) -> Iterator[tuple[str, Structure, float | None]]:
    """Rows of an ASE database; 2DMatPedia keeps its id and its DFT energy per atom in ``data``."""
    from ase.db import connect

    if not source.is_file():
        raise BenchmarkError(f"{source}: no such file; give the database that holds the true structures")
    for row in connect(str(source), type="db", use_lock_file=False).select():
        data = row.data if isinstance(row.data, Mapping) else {}
        structure = AseAtomsAdaptor.get_structure(row.toatoms())
        energy = data.get("energy_per_atom")
        id = str(data.get("material_id", row.get("uid", row.id)))
        yield id, structure, None if energy is None else _formation_energy(structure, float(energy))


def _formation_energy(structure: Structure, energy_per_atom: float) -> float | None:
    composition = structure.composition.element_composition
    references = {element.symbol: _dft_reference(element.symbol) for element in composition}
    if any(energy is None for energy in references.values()):
        return None
    elemental = sum(amount * float(references[element.symbol] or 0.0) for element, amount in composition.items())
    return energy_per_atom - float(elemental) / float(composition.num_atoms)


@cache
def _dft_reference(element: str) -> float | None:
    """Energy per atom of an element's ground state in the Materials Project (PBE), eV."""
    state = ground_state(element)
    return None if state is None else state[1]
