"""Readers of published structures: files, folders, archives, databases and two web APIs.

Every reader yields `Entry` or `Refusal`: one bad row, record or file never stops the rest, and memory stays bounded
whatever the source holds. What lands in a library is decided later, by `library.cleaning`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from library.sources import mc2d
from library.sources.archives import ARCHIVES, is_archive, read_archive, read_file, read_folder
from library.sources.ase_db import read_ase_database
from library.sources.bounded import regular
from library.sources.entry import Entry, Refusal
from library.sources.json_files import is_json, read_json
from library.sources.materials_project import read_materials_project
from library.sources.optimade import read_optimade
from library.sources.structure_files import EXTENSIONS, is_structure_file, stem
from library.sources.web import Manners
from microscopy.errors import LibraryError
from models.formation import cache_folder

__all__ = ["Entry", "Manners", "Refusal", "read_source"]


def read_source(
    source: str | Path, *, work: Path | None = None, manners: Manners | None = None
) -> Iterator[Entry | Refusal]:
    """Read a source of any supported kind.

    Parameters
    ----------
    source
        A path: an ASE database (.db), 2DMatPedia's or a JARVIS JSON file (.json, gzip or zip too), MC2D's folder or
        list, a structure file (.cif, .vasp, POSCAR, CONTCAR, .extxyz, .xyz), an archive (.zip, .tar, .tar.gz) or a
        folder of these. Or a string ``optimade:PROVIDER?elements=Mo,S`` (`library.sources.optimade`) or ``mp:Mo-S``
        (`library.sources.materials_project`).
    work
        Folder where pages from the web are kept; by default in the project's cache.
    manners
        How servers are asked.

    Raises
    ------
    LibraryError
        If the source does not exist, cannot be read, or is of no supported kind.
    """
    if isinstance(source, str):
        kind, _, query = source.partition(":")
        readers = {"optimade": read_optimade, "mp": read_materials_project}
        if kind in readers:
            return readers[kind](query, work or cache_folder() / "sources", manners or Manners())
        if kind in ("http", "https"):
            raise LibraryError(
                f"{source}: download it first, or write optimade:{source}?elements=… for an OPTIMADE server"
            )
    return _read_path(Path(source))


def _read_path(path: Path) -> Iterator[Entry | Refusal]:
    try:
        if path.is_dir():
            return read_folder(path, _read_path)
        if not path.exists():
            raise LibraryError(f"{path}: no such file or folder")
        if not regular(path):
            raise LibraryError(f"{path}: not an ordinary file")
        with path.open("rb"):
            pass
    except (OSError, ValueError) as error:
        raise LibraryError(f"{path}: cannot be read ({error})") from error
    if path.suffix == ".db":
        return read_ase_database(path)
    if path.name in mc2d.LISTS and mc2d.find_list(path.parent) is not None:
        return mc2d.read_mc2d(path)
    if is_json(path.name):
        return read_json(path)
    if is_archive(path.name):
        return read_archive(path)
    if is_structure_file(path.name):
        return read_file(path, stem(path.name), path.name)
    raise LibraryError(
        f"{path}: not a source of structures; give .db, .json, {EXTENSIONS}, {', '.join(ARCHIVES)} or a folder"
    )
