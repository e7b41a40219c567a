"""The folder of a library: memory-mapped columns and fingerprints, named by a manifest.

The manifest is the only thing a reader trusts: it names every data file by the digest of its content, and it is
renamed into place last. A writer that dies leaves the old manifest with the old files; readers that already hold
the old files keep them.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from library.fingerprint import FINGERPRINT_SIZE, FINGERPRINT_VERSION
from library.records import Template
from microscopy.errors import LibraryError
from microscopy.micrograph import Modality

MANIFEST = "manifest.json"
KIND = "automat-library"
SCHEMA = 1
"""Raised whenever the layout of the folder changes."""

COLUMNS = pa.schema(
    [
        ("id", pa.string()),
        ("formula", pa.string()),
        ("elements", pa.string()),
        ("numbers", pa.list_(pa.uint8())),
        ("frac", pa.list_(pa.float64())),
        ("cell", pa.list_(pa.float64(), 9)),
        ("source", pa.string()),
        ("licence", pa.string()),
        ("url", pa.string()),
        ("prototype", pa.string()),
        ("aliases", pa.list_(pa.string())),
    ]
)
"""One row per template: numbers [N], frac [3 N] and cell [9] row by row, in Å; aliases are ids of merged duplicates."""


def write(
    path: Path,
    templates: Sequence[Template],
    stored: Mapping[Modality, Float32[np.ndarray, "N D"]],
    facts: Mapping[str, Any],
    aliases: Sequence[Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Write a library folder, replacing one that is there; readers see the old one or the new one.

    Parameters
    ----------
    path
        Folder; made when absent. A folder that holds something else than a library is refused.
    templates, stored, aliases
        Rows, their fingerprints by modality, and the ids of duplicates merged into each row.
    facts
        JSON-compatible entries added to the manifest: command, parameters, sources, refusals.

    Returns
    -------
    dict
        The manifest written.

    Raises
    ------
    LibraryError
        If the folder is not a library, or cannot be written.
    """
    if path.exists() and (not path.is_dir() or (any(path.iterdir()) and not (path / MANIFEST).exists())):
        raise LibraryError(f"{path}: exists and is not a template library; choose another --out")
    names = aliases or [()] * len(templates)
    table = pa.Table.from_pylist([_row(t, a) for t, a in zip(templates, names, strict=True)], schema=COLUMNS)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".write-", dir=path) as folder:
            files = {"templates": _finish(Path(folder), "templates", ".arrow", table)}
            for modality, rows in stored.items():
                name = f"fingerprints-{modality.value}"
                files[name] = _finish(Path(folder), name, ".npy", np.asarray(rows, dtype=np.float32))
            manifest = {
                "kind": KIND,
                "schema": SCHEMA,
                "count": len(templates),
                "fingerprint": {"version": FINGERPRINT_VERSION, "size": FINGERPRINT_SIZE},
                "files": files,
                **facts,
            }
            text = json.dumps(manifest, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
            (Path(folder) / MANIFEST).write_text(text, encoding="utf-8")
            for name in [facts["path"] for facts in files.values()] + [MANIFEST]:
                _sync(Path(folder) / name)
                (Path(folder) / name).replace(path / name)
            _sync(path)
    except OSError as error:
        raise LibraryError(f"{path}: cannot be written ({error.strerror or error})") from error
    _remove_unnamed(path, {facts["path"] for facts in files.values()} | {MANIFEST})
    return manifest


def load(path: Path) -> tuple[dict[str, Any], pa.Table]:
    """Manifest and memory-mapped templates of a library folder; schema and sizes are checked, contents are not.

    Raises
    ------
    LibraryError
        If the folder is not a library, is damaged, or was made for other fingerprints.
    """
    manifest = read_manifest(path)
    if manifest["fingerprint"] != {"version": FINGERPRINT_VERSION, "size": FINGERPRINT_SIZE}:
        raise LibraryError(f"{path}: made for fingerprints {manifest['fingerprint']}; rebuild it from its sources")
    for name, facts in manifest["files"].items():
        _check_size(path / facts["path"], int(facts["bytes"]), name)
    try:
        with pa.memory_map(str(path / manifest["files"]["templates"]["path"])) as source:
            table = pa.ipc.open_file(source).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise LibraryError(f"{path}: the templates are damaged ({error}); rebuild or copy the library again") from error
    if not table.schema.equals(COLUMNS) or table.num_rows != manifest["count"]:
        raise LibraryError(f"{path}: the templates do not match the manifest; rebuild or copy the library again")
    return manifest, table


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
        raise LibraryError(
            f"{path}: not a template library (no {MANIFEST}); make one with 'automat library build'"
        ) from error
    except (OSError, ValueError) as error:
        raise LibraryError(
            f"{path}: its {MANIFEST} cannot be read ({error}); rebuild or copy the library again"
        ) from error
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise LibraryError(f"{path}: its {MANIFEST} is not a template library's; choose another folder")
    if manifest.get("schema") != SCHEMA:
        raise LibraryError(f"{path}: library schema {manifest.get('schema')}, this program reads {SCHEMA}; rebuild it")
    if not {"count", "files", "fingerprint"} <= manifest.keys() or "templates" not in manifest["files"]:
        raise LibraryError(f"{path}: its {MANIFEST} is incomplete; rebuild or copy the library again")
    return manifest


def verify(path: Path) -> dict[str, Any]:
    """Read every byte of a library and compare with the manifest, which is returned.

    Raises
    ------
    LibraryError
        If a file is missing or altered.
    """
    manifest, _ = load(path)
    for facts in manifest["files"].values():
        if _sha256(path / facts["path"]) != facts["sha256"]:
            raise LibraryError(f"{path / facts['path']}: content was altered; rebuild or copy the library again")
    return manifest


def read_fingerprints(path: Path, length: int) -> Float32[np.ndarray, "N D"]:
    """Memory-mapped fingerprints of `length` templates.

    Raises
    ------
    LibraryError
        If the file is damaged or belongs to other templates.
    """
    try:
        rows: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise LibraryError(
            f"{path}: the fingerprints are damaged ({error}); rebuild or copy the library again"
        ) from error
    if rows.shape != (length, FINGERPRINT_SIZE) or rows.dtype != np.float32:
        raise LibraryError(f"{path}: the fingerprints do not match the templates; rebuild or copy the library again")
    return rows


def content_digest(manifest: Mapping[str, Any]) -> str:
    """sha256 over the digests of a manifest's files, by name."""
    lines = [f"{name} {facts['sha256']}" for name, facts in sorted(manifest["files"].items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _row(template: Template, aliases: Sequence[str]) -> dict[str, Any]:
    structure = template.structure
    return {
        "id": template.id,
        "formula": template.formula,
        "elements": "-".join(sorted({site.specie.symbol for site in structure})),
        "numbers": [site.specie.Z for site in structure],
        "frac": structure.frac_coords.ravel().tolist(),
        "cell": structure.lattice.matrix.ravel().tolist(),
        "source": template.source,
        "licence": template.licence,
        "url": template.url,
        "prototype": template.prototype,
        "aliases": list(aliases),
    }


def _finish(folder: Path, name: str, suffix: str, content: pa.Table | np.ndarray) -> dict[str, Any]:
    """Write one data file under the name of its digest."""
    draft = folder / f"{name}{suffix}"
    if isinstance(content, pa.Table):
        with pa.OSFile(str(draft), "wb") as sink, pa.ipc.new_file(sink, content.schema) as writer:
            writer.write_table(content)
    else:
        np.save(draft, content)
    digest = _sha256(draft)
    final = f"{name}-{digest[:12]}{suffix}"
    draft.rename(folder / final)
    return {"path": final, "sha256": digest, "bytes": (folder / final).stat().st_size}


def _check_size(file: Path, size: int, name: str) -> None:
    if not file.is_file():
        raise LibraryError(f"{file}: missing; rebuild or copy the library again")
    if file.stat().st_size != size:
        raise LibraryError(f"{file}: {file.stat().st_size} bytes, {name} has {size}; rebuild or copy the library again")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk, so that the rename that follows cannot outrun its content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_unnamed(path: Path, named: set[str]) -> None:
    """Delete data files of earlier versions; only names this module writes are touched."""
    for file in path.iterdir():
        mine = file.name.startswith(("templates-", "fingerprints-")) and file.suffix in (".arrow", ".npy")
        if mine and file.name not in named:
            file.unlink(missing_ok=True)
