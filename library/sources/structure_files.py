"""CIF, POSCAR and extxyz files."""

from __future__ import annotations

import io
import itertools
import re
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import PurePosixPath

import ase.io
from ase import Atoms
from pymatgen.core import Structure
from pymatgen.io.cif import CifParser
from pymatgen.io.vasp.inputs import BadPoscarWarning, Poscar

from library.cleaning import MAX_SITES
from library.sources.bounded import digest
from library.sources.entry import Entry, Refusal, RefusedError, attempt, brief, printable, structure

MAX_TEXT = 2 * 2**20
"""Characters of one crystal; a CIF of `MAX_SITES` atoms has about 40,000."""

MAX_OPERATIONS = 192
"""Symmetry operations of a CIF: as many as the largest space groups have in a centred cell."""

EXTENSIONS = ".cif, .vasp, POSCAR, CONTCAR, .extxyz, .xyz"

Parser = Callable[[str], Structure]


def is_structure_file(name: str) -> bool:
    """Whether a name is that of a structure file."""
    return _kind(name) is not None


def parse(content: bytes, name: str, id: str, source: str) -> Iterator[Entry | Refusal]:
    """Entries of one file; several structures in a file are numbered by ``#0``, ``#1`` and so on."""
    kind = _kind(name)
    if kind is None:
        yield Refusal(printable(id), "not a structure file", printable(name))
        return
    divide, parser = kind
    parts = list(divide(content.decode("utf-8", errors="replace")))
    if not parts:
        yield Refusal(printable(id), "no structure in file", printable(name))
    for number, part in enumerate(parts):
        own = printable(id if len(parts) == 1 else f"{id}#{number}")
        yield attempt(own, partial(_entry, own, part, parser, source, digest(content)), "unreadable file")


def _entry(id: str, part: str, parser: Parser, source: str, version: str) -> Entry:
    if len(part) > MAX_TEXT:
        raise RefusedError("file too large", f"more than {MAX_TEXT} characters for one structure")
    return Entry(id, parser(part), printable(source), version=version)


def stem(name: str) -> str:
    """Id of a file: its path without suffix, and without anything that points elsewhere."""
    path = PurePosixPath(name.replace("\\", "/"))
    parts = [part for part in path.with_suffix("").parts if part not in ("/", "..", ".")]
    return printable("/".join(parts))


def from_atoms(atoms: Atoms) -> Structure:
    """Elements, positions and cell alone: results and constraints of the source's calculation do not matter."""
    if len(atoms) > MAX_SITES:
        raise RefusedError("too many atoms", f"{len(atoms)}, at most {MAX_SITES}")
    if 0 in atoms.numbers:
        raise RefusedError("sites without a chemical element")
    return structure(atoms.cell.array.tolist(), atoms.get_chemical_symbols(), atoms.positions, cartesian=True)


def _kind(name: str) -> tuple[Callable[[str], Iterator[str]], Parser] | None:
    """How a file is divided into structures, and how each is parsed."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in (".cif", ".mcif"):
        return _blocks, _parse_cif
    if suffix in (".vasp", ".poscar") or name.upper().startswith(("POSCAR", "CONTCAR")):
        return _whole, _parse_poscar
    if suffix in (".extxyz", ".xyz"):
        return _frames, _parse_frame
    return None


def _whole(text: str) -> Iterator[str]:
    yield text


def _blocks(text: str) -> Iterator[str]:
    """Data blocks of a CIF that hold atoms."""
    starts = [match.start() for match in re.finditer(r"(?im)^\s*data_", text)]
    if len(starts) < 2:
        yield text
        return
    blocks = (text[begin:end] for begin, end in itertools.pairwise([*starts, len(text)]))
    yield from (block for block in blocks if "_atom_site_" in block)


def _parse_cif(text: str) -> Structure:
    parser = CifParser(io.StringIO(text), occupancy_tolerance=1.0)
    for block in parser.as_dict().values():
        sites = _rows(block, "_atom_site_fract_x", "_atom_site_Cartn_x")
        if sites > MAX_SITES:
            raise RefusedError("too many atoms", f"{sites}, at most {MAX_SITES}")
        if _rows(block, "_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz") > MAX_OPERATIONS:
            raise RefusedError("unreadable file", "more symmetry operations than any space group has")
    structures = parser.parse_structures(primitive=False, on_error="raise")
    if any("implicit hydrogens" in warning for warning in parser.warnings):  # type: ignore[attr-defined]
        raise RefusedError("incomplete structure: implicit hydrogens")
    if not structures:
        raise RefusedError("no structure in file")
    return structures[0]


def _rows(block: dict[str, object], *keys: str) -> int:
    columns = [block[key] for key in keys if key in block]
    return max((len(column) if isinstance(column, list) else 1 for column in columns), default=0)


def _parse_poscar(text: str) -> Structure:
    # The counts of atoms stand within these lines, wherever the symbols' own lines end; pymatgen believes them.
    for line in text.splitlines()[5:26]:
        words = line.split()
        if words and all(word.isdecimal() for word in words) and sum(int(word[:12]) for word in words) > MAX_SITES:
            raise RefusedError("too many atoms", f"{line[:40]}, at most {MAX_SITES}")
    # Without symbols pymatgen warns and takes H, He, Li…
    warnings.filterwarnings("error", message="Elements in POSCAR cannot be determined")
    try:
        return Poscar.from_str(text).structure
    except BadPoscarWarning as error:
        raise RefusedError("unreadable file", brief(error)) from error


def _frames(text: str) -> Iterator[str]:
    """Frames of an extxyz file: a count, a comment and as many lines as it says."""
    lines, at = text.split("\n"), 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        count = lines[at].strip()
        if not count.isdecimal() or len(count) > 9:
            # Nothing tells where the next frame begins.
            yield "\n".join(lines[at:])
            return
        end = at + 2 + int(count)
        yield "\n".join(lines[at:end])
        at = end


def _parse_frame(text: str) -> Structure:
    count, _, rest = text.partition("\n")
    if count.strip().isdecimal() and int(count.strip()[:12]) > MAX_SITES:
        raise RefusedError("too many atoms", f"{count[:40].strip()}, at most {MAX_SITES}")
    if re.search(r":[A-Za-z]:\d{4,}", rest.partition("\n")[0]):
        raise RefusedError("unreadable file", "a property of thousands of columns")
    atoms = ase.io.read(io.StringIO(text + "\n"), index=0, format="extxyz")
    if not isinstance(atoms, Atoms):
        raise RefusedError("no structure in file")
    return from_atoms(atoms)
