"""The folder of a library, for reading: parts, and indices of them, named by a manifest.

The manifest is the only thing a reader trusts. It names every file by the digest of its content, and it is renamed
into place last (``library.writing``): a writer that dies leaves the old manifest with the old files, and readers that
already hold the old files keep them. A part holds consecutive rows: templates with their fingerprints
(``library.table``) and, beside it, the ids of duplicates merged into rows of this or earlier parts. Adding to a library
adds a part.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from library.fingerprint import FINGERPRINT_SIZE, FINGERPRINT_VERSION
from library.table import COLUMNS, modalities_of
from microscopy import files
from microscopy.errors import LibraryError
from microscopy.micrograph import Modality

MANIFEST = "manifest.json"
WORK = ".build"
"""Folder in it with the finished batches of a build that goes on after an interruption."""

KIND = "automat-library"
SCHEMA = 2
"""Raised whenever the layout of the folder changes."""

FINGERPRINT = {"version": FINGERPRINT_VERSION, "size": FINGERPRINT_SIZE}

ALIASES = pa.schema([("row", pa.int64()), ("id", pa.string())])
"""Ids of duplicates, and the row of the library each was merged into."""

NO_ALIASES = pa.Table.from_batches([], schema=ALIASES)  # made of Python lists, pyarrow would import pandas

AGAIN = "rebuild or copy the library again"

ATTEMPTS = 5
"""A writer may replace the files between the reading of the manifest and theirs; it does not do so every time."""


@dataclass(frozen=True)
class IndexFile:
    """An index of the first rows of a library: where it is, its digest, and how many rows it covers."""

    path: Path
    sha256: str
    covers: int


@dataclass(frozen=True, eq=False)
class Opened:
    """A library folder as found: one memory-mapped table and one of aliases for each part, and its index files."""

    manifest: Mapping[str, Any]
    tables: tuple[pa.Table, ...]
    aliases: tuple[pa.Table, ...]
    indices: Mapping[Modality, IndexFile]


def load(path: Path) -> Opened:
    """Open a library folder; schema and sizes are checked, contents are not.

    Raises
    ------
    LibraryError
        If the folder is not a library, is damaged, or was made for other fingerprints.
    """
    for _ in range(ATTEMPTS):
        manifest = read_manifest(path)
        try:
            return _open(path, manifest)
        except LibraryError:
            if read_manifest(path) == manifest:
                raise
    raise LibraryError(f"{path}: is being rewritten all the time; try again when that is done")


def read_manifest(path: Path) -> dict[str, Any]:
    """Manifest of a library folder.

    Raises
    ------
    LibraryError
        If there is none, it is damaged, or a newer program wrote it.
    """
    file = path / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if (path / WORK).exists():
            message = f"{path}: an unfinished library; run the same 'automat library build' again, it goes on"
        else:
            message = f"{path}: not a template library (no {MANIFEST}); make one with 'automat library build'"
        raise LibraryError(message) from error
    except (OSError, ValueError) as error:
        raise LibraryError(f"{path}: its {MANIFEST} cannot be read ({error}); {AGAIN}") from error
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise LibraryError(f"{path}: its {MANIFEST} is not a template library's; choose another folder")
    if manifest.get("schema") != SCHEMA:
        raise LibraryError(f"{path}: library schema {manifest.get('schema')}, this program reads {SCHEMA}; rebuild it")
    if manifest.get("fingerprint") != FINGERPRINT:
        raise LibraryError(f"{path}: made for fingerprints {manifest.get('fingerprint')}; rebuild it from its sources")
    try:
        for facts in files_of(manifest):
            if facts["path"] != Path(facts["path"]).name or not isinstance(facts["sha256"], str):
                raise ValueError(facts["path"])
            int(facts["bytes"])
        if manifest["count"] != sum(part["count"] for part in manifest["parts"]):
            raise ValueError("count")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LibraryError(f"{path}: its {MANIFEST} is incomplete; {AGAIN}") from error
    return manifest


def files_of(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Facts of every file that a manifest names: its path, sha256 and bytes."""
    parts = [facts for part in manifest["parts"] for facts in part["files"].values()]
    return [*parts, *manifest["indices"].values()]


def verify(path: Path) -> dict[str, Any]:
    """Read every byte of a library and compare with the manifest, which is returned.

    Raises
    ------
    LibraryError
        If a file is missing or altered.
    """
    manifest = dict(load(path).manifest)
    for facts in files_of(manifest):
        check_content(path / facts["path"], facts["sha256"])
    return manifest


def check_content(file: Path, sha256: str) -> None:
    """Read a file to the end.

    Raises
    ------
    LibraryError
        If it is not what its digest says.
    """
    if files.sha256(file) != sha256:
        raise LibraryError(f"{file}: content was altered; {AGAIN}")


def content_digest(manifest: Mapping[str, Any]) -> str:
    """sha256 over the digests of a manifest's files."""
    return hashlib.sha256("\n".join(facts["sha256"] for facts in files_of(manifest)).encode()).hexdigest()


def _open(path: Path, manifest: Mapping[str, Any]) -> Opened:
    for facts in files_of(manifest):
        _check_size(path / facts["path"], int(facts["bytes"]))
    tables: list[pa.Table] = []
    aliases: list[pa.Table] = []
    for part in manifest["parts"]:
        files = part["files"]
        table = _mapped(path / files["templates"]["path"])
        if not pa.schema(list(table.schema)[: len(COLUMNS)]).equals(COLUMNS) or table.num_rows != part["count"]:
            raise LibraryError(f"{path}: the templates do not match the manifest; {AGAIN}")
        if tables and modalities_of(table) != modalities_of(tables[0]):
            raise LibraryError(f"{path}: its parts hold different fingerprints; {AGAIN}")
        tables.append(table)
        aliases.append(_mapped(path / files["aliases"]["path"]).cast(ALIASES) if "aliases" in files else NO_ALIASES)
    indices = {
        Modality(name): IndexFile(path / facts["path"], facts["sha256"], int(facts["covers"]))
        for name, facts in manifest["indices"].items()
    }
    return Opened(manifest, tuple(tables), tuple(aliases), indices)


def _mapped(file: Path) -> pa.Table:
    try:
        with pa.memory_map(str(file)) as source:
            return pa.ipc.open_file(source).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise LibraryError(f"{file}: damaged ({error}); {AGAIN}") from error


def _check_size(file: Path, size: int) -> None:
    if not file.is_file():
        raise LibraryError(f"{file}: missing; {AGAIN}")
    if file.stat().st_size != size:
        raise LibraryError(f"{file}: {file.stat().st_size} bytes where the manifest says {size}; {AGAIN}")
