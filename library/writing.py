"""The folder of a library, for writing: one writer at a time, and nothing seen before all is there.

Files are drafted in a folder of their own, named by their digest, and renamed beside the old ones; then the manifest
is. Readers see the old library or the new one, whatever happens to the writer.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from library.folder import ALIASES, FINGERPRINT, KIND, MANIFEST, SCHEMA, WORK, files_of
from library.index import CellIndex
from microscopy.errors import LibraryError
from microscopy.files import sha256

LOCK, DRAFT = ".lock", ".draft"
"""The writer's: who writes, and files not finished."""

NAMES = ("templates-", "aliases-", "index-")
"""How the names of data files begin."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Be the only writer of a library folder, which is made when absent; the lock ends with the process.

    Raises
    ------
    LibraryError
        If another process writes, the folder holds something else than a library, or cannot be written.
    """
    refuse_foreign(path)
    with _disk(path):
        path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
            raise LibraryError(f"{path}: is being written by {holder}; wait for it to finish, or end it") from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        shutil.rmtree(path / DRAFT, ignore_errors=True)
        with _disk(path):
            yield
    finally:
        os.close(descriptor)


def refuse_foreign(path: Path) -> None:
    """Check that a library may be written to a path.

    Raises
    ------
    LibraryError
        If something else than a library is there.
    """
    if path.exists() and (not path.is_dir() or not _ours(path)):
        raise LibraryError(f"{path}: exists and is not a template library; choose another folder")


def write_part(path: Path, blocks: Iterable[pa.Table], aliases: pa.Table) -> dict[str, Any]:
    """Write consecutive rows, given in blocks; returns what the manifest says of the part.

    The part is not in the library before `commit`.
    """
    count = 0
    draft = _draft(path) / "templates"
    with pa.OSFile(str(draft), "wb") as sink:
        writer = None
        for block in blocks:
            writer = writer or pa.ipc.new_file(sink, block.schema)
            writer.write_table(block.combine_chunks())
            count += block.num_rows
        if writer is None:
            raise LibraryError(f"{path}: a part without rows was to be written")
        writer.close()
    files = {"templates": _finish(path, draft, ".arrow")}
    if len(aliases):
        draft = _draft(path) / "aliases"
        with pa.OSFile(str(draft), "wb") as sink, pa.ipc.new_file(sink, ALIASES) as writer:
            writer.write_table(aliases.combine_chunks())
        files["aliases"] = _finish(path, draft, ".arrow")
    return {"count": count, "files": files}


def map_part(path: Path, part: Mapping[str, Any]) -> pa.Table:
    """Rows of a part just written, memory-mapped."""
    with pa.memory_map(str(path / part["files"]["templates"]["path"])) as source:
        return pa.ipc.open_file(source).read_all()


def write_index(path: Path, index: CellIndex) -> dict[str, Any]:
    """Write an index; returns what the manifest says of it. It is not in the library before `commit`."""
    draft = _draft(path) / "index"
    index.write(draft)
    return {"covers": len(index), **_finish(path, draft, ".faiss")}


def commit(
    path: Path, parts: Sequence[Mapping[str, Any]], indices: Mapping[str, Mapping[str, Any]], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Make parts and indices the library, all at once; files of earlier ones are deleted.

    Parameters
    ----------
    path
        Folder, locked.
    parts, indices
        From `write_part` and `write_index`, or of the library that is there.
    facts
        JSON-compatible entries added to the manifest.

    Returns
    -------
    dict
        The manifest written.
    """
    count = sum(part["count"] for part in parts)
    manifest = {
        **facts,
        "kind": KIND,
        "schema": SCHEMA,
        "count": count,
        "fingerprint": FINGERPRINT,
        "parts": list(parts),
        "indices": dict(indices),
    }
    draft = _draft(path) / MANIFEST
    draft.write_text(json.dumps(manifest, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    _sync(draft)
    _sync(path)
    draft.replace(path / MANIFEST)
    _sync(path)
    named = {facts["path"] for facts in files_of(manifest)}
    for file in path.iterdir():
        if file.name.startswith(NAMES) and file.name not in named:
            file.unlink(missing_ok=True)
    shutil.rmtree(path / DRAFT, ignore_errors=True)
    return manifest


def _draft(path: Path) -> Path:
    folder = path / DRAFT
    folder.mkdir(exist_ok=True)
    return folder


def _finish(path: Path, draft: Path, suffix: str) -> dict[str, Any]:
    """Rename a draft into the library's folder, under the name of its digest."""
    digest = sha256(draft)
    name = f"{draft.name}-{digest[:12]}{suffix}"
    _sync(draft)
    draft.replace(path / name)
    return {"path": name, "sha256": digest, "bytes": (path / name).stat().st_size}


def _ours(path: Path) -> bool:
    """Whether a folder is a library, whole or damaged, or holds nothing but what an interrupted writer leaves."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        own = (LOCK, DRAFT, WORK, MANIFEST)
        return all(file.name in own or file.name.startswith(NAMES) for file in path.iterdir())
    return isinstance(manifest, dict) and manifest.get("kind") == KIND


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LibraryError(f"{path}: cannot be written ({error.strerror or error})") from error


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk, so that the rename that follows cannot outrun its content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
