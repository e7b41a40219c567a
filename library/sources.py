"""Readers of published structures: ASE databases, CIF, POSCAR and extxyz files, folders and zips of them.

Every reader yields `Entry` or `Refusal`: one bad row or file never stops the rest.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import ase.io
from ase import Atoms
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifParser
from pymatgen.io.vasp import Poscar

from microscopy.errors import LibraryError

MAX_FILE = 20 * 2**20
"""Bytes of one structure file, after decompression: a hundred times the largest honest one."""

MAX_MEMBERS = 2_000_000
"""Files in one archive."""

URLS = {
    "2DMatPedia": "http://www.2dmatpedia.org/2dmaterials/doc/{id}",
    "C2DB": "https://c2db.fysik.dtu.dk/material/{id}",
}
"""Where an entry of a known database can be looked up."""


@dataclass(frozen=True, eq=False)
class Entry:
    """A structure as its source has it, and where it comes from."""

    id: str
    structure: Structure
    source: str
    licence: str = ""
    url: str = ""
    prototype: str = ""
    version: str = ""


@dataclass(frozen=True)
class Refusal:
    """An entry that cannot be used: its id, a reason that can be counted, and the details."""

    id: str
    reason: str
    detail: str = ""


def read_source(path: Path) -> Iterator[Entry | Refusal]:
    """Read a source of any supported kind.

    Parameters
    ----------
    path
        An ASE database (.db), a structure file (.cif, .vasp, POSCAR, CONTCAR, .extxyz, .xyz), a .zip of
        structure files, or a folder, read recursively in alphabetical order.

    Raises
    ------
    LibraryError
        If the path does not exist, cannot be read, or is of no supported kind.
    """
    if path.is_dir():
        return _read_folder(path)
    if not path.exists():
        raise LibraryError(f"{path}: no such file or folder")
    if path.suffix == ".db":
        return _read_ase_database(path)
    if path.suffix == ".zip":
        return _read_zip(path)
    if _parser(path.name) is None:
        raise LibraryError(
            f"{path}: not a source of structures; give .db, .cif, .vasp, POSCAR, .extxyz, .zip or a folder"
        )
    return _read_file(path, _stem(path.name), path.name)


def _read_folder(folder: Path) -> Iterator[Entry | Refusal]:
    found = False
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if _parser(path.name) is not None:
            found = True
            yield from _read_file(path, _stem(name), folder.name)
        elif path.suffix in (".db", ".zip"):
            found = True
            try:
                yield from read_source(path)
            except LibraryError as error:
                yield Refusal(name, "unreadable file", str(error))
    if not found:
        raise LibraryError(f"{folder}: no structure files here (.cif, .vasp, POSCAR, .extxyz, .db, .zip)")


def _read_file(path: Path, id: str, source: str) -> Iterator[Entry | Refusal]:
    try:
        if path.stat().st_size > MAX_FILE:
            yield Refusal(id, "file too large", f"{path}: more than {MAX_FILE} bytes")
            return
        content = path.read_bytes()
    except OSError as error:
        yield Refusal(id, "unreadable file", str(error))
        return
    yield from _parse(content, path.name, id, source)


def _read_zip(path: Path) -> Iterator[Entry | Refusal]:
    """Members are parsed in memory, so that no name in the archive can point anywhere on disk."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise LibraryError(f"{path}: not a readable zip archive ({error})") from error
    with archive:
        members = sorted((m for m in archive.infolist() if not m.is_dir()), key=lambda m: m.filename)
        if len(members) > MAX_MEMBERS:
            raise LibraryError(f"{path}: {len(members)} files in one archive; split it")
        for member in members:
            name = PurePosixPath(member.filename)
            if _parser(name.name) is None:
                continue
            id = _stem(member.filename)
            try:
                with archive.open(member) as stream:
                    # The size in the header may lie; reading one byte more than allowed shows it.
                    content = stream.read(MAX_FILE + 1)
            except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError) as error:
                yield Refusal(id, "unreadable file", str(error))
                continue
            if len(content) > MAX_FILE:
                yield Refusal(id, "file too large", f"{member.filename}: more than {MAX_FILE} bytes")
                continue
            yield from _parse(content, name.name, id, path.name)


def _read_ase_database(path: Path) -> Iterator[Entry | Refusal]:
    from ase.db import connect

    with path.open("rb") as stream:
        if stream.read(15) != b"SQLite format 3":
            raise LibraryError(f"{path}: not an SQLite database; an ASE .db file was expected")
    try:
        database = connect(str(path), type="db", use_lock_file=False)
        rows = [row.id for row in database.select(columns=["id"], include_data=False)]
    except Exception as error:  # SQLite and ASE raise many types for a foreign schema
        raise LibraryError(f"{path}: not an ASE database ({error})") from error
    for number in rows:
        try:
            row = database.get(id=number)
            data = {**_mapping(row.data), **row.key_value_pairs}
            id, source = _identity(data, path)
            structure = AseAtomsAdaptor.get_structure(_bare(row.toatoms()))
        except Exception as error:  # a bad row may raise anything its decoder raises
            yield Refusal(f"{path.stem}-{number}", "unreadable row", f"{type(error).__name__}: {error}")
            continue
        url = URLS.get(source, "").format(id=id)
        yield Entry(id or f"{path.stem}-{number}", structure, source, str(data.get("licence", "")), url)


def _identity(data: Mapping[str, Any], path: Path) -> tuple[str, str]:
    """Id and database of a row: 2DMatPedia keeps ``data.material_id``, C2DB the key ``uid``."""
    if "material_id" in data:
        id = str(data["material_id"])
        return id, "2DMatPedia" if id.startswith("2dm-") else path.name
    if "uid" in data:
        return str(data["uid"]), "C2DB"
    return "", path.name


def _mapping(data: Any) -> Mapping[str, Any]:
    return data if isinstance(data, Mapping) else {}


def _bare(atoms: Atoms) -> Atoms:
    """Elements, positions and cell alone: results and constraints of the source's calculation do not matter."""
    return Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)


def _parse(content: bytes, name: str, id: str, source: str) -> Iterator[Entry | Refusal]:
    parser = _parser(name)
    try:
        with warnings.catch_warnings():
            # Parsers warn of rounded coordinates and guessed sites; what matters is refused by the cleaning.
            warnings.simplefilter("ignore")
            structures = parser(content.decode("utf-8", errors="replace")) if parser else []
    except Exception as error:  # parsers of broken files raise anything
        yield Refusal(id, "unreadable file", f"{name}: {type(error).__name__}: {str(error).splitlines()[:1]}")
        return
    if not structures:
        yield Refusal(id, "no structure in file", name)
    for number, structure in enumerate(structures):
        yield Entry(id if len(structures) == 1 else f"{id}#{number}", structure, source)


def _parse_cif(text: str) -> list[Structure]:
    return list(
        CifParser(io.StringIO(text), occupancy_tolerance=1.0).parse_structures(primitive=False, on_error="raise")
    )


def _parse_poscar(text: str) -> list[Structure]:
    return [Poscar.from_str(text).structure]


def _parse_extxyz(text: str) -> list[Structure]:
    frames = ase.io.read(io.StringIO(text), index=":", format="extxyz")
    return [AseAtomsAdaptor.get_structure(_bare(atoms)) for atoms in frames]


def _parser(name: str) -> Callable[[str], list[Structure]] | None:
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in (".cif", ".mcif"):
        return _parse_cif
    if suffix in (".vasp", ".poscar") or name.upper().startswith(("POSCAR", "CONTCAR")):
        return _parse_poscar
    if suffix in (".extxyz", ".xyz"):
        return _parse_extxyz
    return None


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    parts = [part for part in path.with_suffix("").parts if part not in ("/", "..", ".")]
    return "/".join(parts)
