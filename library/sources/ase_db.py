"""ASE databases, in C2DB's form (key ``uid``), 2DMatPedia's (``data.material_id``) and any other."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from library.sources.bounded import file_digest
from library.sources.entry import Entry, Refusal, attempt, printable
from library.sources.published import Database, named
from library.sources.structure_files import from_atoms
from microscopy.errors import LibraryError


def read_ase_database(path: Path) -> Iterator[Entry | Refusal]:
    """Rows of an ASE database; the file is not changed.

    Raises
    ------
    LibraryError
        If the file is no ASE database.
    """
    _check(path)
    return _rows(path)


def _rows(path: Path) -> Iterator[Entry | Refusal]:
    from ase.db import connect

    try:
        database = connect(str(path), type="db", use_lock_file=False)
        rows = [row.id for row in database.select(columns=["id"], include_data=False)]
    except Exception as error:  # SQLite and ASE raise many types for a foreign schema
        raise LibraryError(f"{path}: not an ASE database ({error})") from error
    version = file_digest(path)
    for number in rows:
        name = f"{path.stem}-{number}"
        yield attempt(name, partial(_entry, database, number, name, path.name, version), "unreadable row")


def _check(path: Path) -> None:
    """ASE would add its tables to any other SQLite file that it opens."""
    try:
        with path.open("rb") as stream:
            if stream.read(15) != b"SQLite format 3":
                raise LibraryError(f"{path}: not an SQLite database; an ASE .db file was expected")
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            tables = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
        finally:
            connection.close()
    except (OSError, sqlite3.Error) as error:
        raise LibraryError(f"{path}: cannot be read as an SQLite database ({error})") from error
    if not {"systems", "information"} <= tables:
        raise LibraryError(f"{path}: an SQLite database, but not of ASE's form")


def _entry(rows: Any, number: int, name: str, file: str, version: str) -> Entry:
    row = rows.get(id=number)
    data = row.data if isinstance(row.data, Mapping) else {}
    data = {**data, **row.key_value_pairs}
    id, database = _identity(data, name, file)
    licence = str(data.get("licence") or data.get("license") or database.licence)
    return Entry(id, from_atoms(row.toatoms()), database.name, licence, database.url_of(id), version=version)


def _identity(data: Mapping[str, Any], name: str, file: str) -> tuple[str, Database]:
    if "material_id" in data:
        id = printable(str(data["material_id"]))
        return id, named("2DMatPedia") if id.startswith("2dm-") else Database(file)
    if "uid" in data:
        return printable(str(data["uid"])), named("C2DB")
    return name, Database(file)
