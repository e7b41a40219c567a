"""Building a library and adding to it: sources → cleaning → fingerprints → duplicates merged → store."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from library.appending import append
from library.folder import MANIFEST, WORK, load, read_manifest
from library.preparing import Report, prepare
from library.records import Progress as Progress
from library.sources import Entry, Refusal, read_source
from library.table import modalities_of
from library.workers import HERE, Workers
from library.writing import commit, locked
from microscopy.errors import LibraryError
from microscopy.micrograph import Modality

MODALITIES = (Modality.IDPC, Modality.HAADF)
"""Fingerprints stored by default; those of other modalities are computed when they are first used."""


def build_library(
    sources: Sequence[str | Path],
    out: Path,
    *,
    modalities: Sequence[Modality] = MODALITIES,
    command: str = "automat library build",
    workers: Workers = HERE,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Build a library from published structures and write it to a folder.

    Parameters
    ----------
    sources
        What `library.sources.read_source` understands.
    out
        Folder of the library; an older library there is replaced. A build that was interrupted goes on.
    modalities
        Fingerprints to store.
    command
        What the manifest says made it.
    workers
        Who cleans and fingerprints the entries; the library is the same whoever does.
    progress
        Told about each stage.

    Returns
    -------
    dict
        The manifest: ``count``, ``sources`` (entries read by source), ``refusals`` (count by reason), ``merged``…

    Raises
    ------
    LibraryError
        If a source cannot be read at all, nothing usable is in them, or the folder cannot be written.
    """
    facts = {"command": command, "parameters": _parameters(sources)}
    return build_from_entries(_entries(sources), out, modalities, facts, progress, workers)


def build_from_entries(
    entries: Iterable[Entry | Refusal],
    out: Path,
    modalities: Sequence[Modality],
    facts: Mapping[str, Any],
    progress: Progress | None,
    workers: Workers = HERE,
) -> dict[str, Any]:
    """Clean, fingerprint, merge and write entries; ``facts`` join the manifest, which is returned.

    Raises
    ------
    LibraryError
        If no entry is usable, or the folder cannot be written.
    """
    with locked(out):
        rows, report = prepare(entries, modalities or MODALITIES, out / WORK, workers, progress)
        if not rows.num_rows:
            shutil.rmtree(out / WORK if (out / MANIFEST).exists() else out, ignore_errors=True)
            raise LibraryError(f"no usable monolayer in the sources: {_reasons(report)}")
        appended = append(out, None, rows, progress)
        facts = {**facts, **report.facts(), "merged": appended.merged, "additions": []}
        manifest = commit(out, appended.parts, appended.indices, facts)
        shutil.rmtree(out / WORK, ignore_errors=True)
    return manifest


def add_to_library(
    sources: Sequence[str | Path], library: Path, *, workers: Workers = HERE, progress: Progress | None = None
) -> dict[str, Any]:
    """Add published structures to a library; what it holds already gains another name.

    Parameters
    ----------
    sources, workers, progress
        See `build_library`.
    library
        Folder of the library. Its templates are neither cleaned nor fingerprinted again.

    Returns
    -------
    dict
        What joined the manifest's ``additions``: how many were ``added`` and ``merged``, ``sources``, ``refusals``…

    Raises
    ------
    LibraryError
        If the folder is no library or is being written, or the sources cannot be read.
    """
    facts = {"command": "automat library add", "parameters": _parameters(sources)}
    return add_entries(_entries(sources), library, facts, progress, workers)


def add_entries(
    entries: Iterable[Entry | Refusal],
    library: Path,
    facts: Mapping[str, Any],
    progress: Progress | None = None,
    workers: Workers = HERE,
) -> dict[str, Any]:
    """Clean, fingerprint, merge and append entries; ``facts`` join what is returned, see `add_to_library`."""
    read_manifest(library)  # a folder that is no library is refused before it is locked
    with locked(library):
        opened = load(library)
        rows, report = prepare(entries, modalities_of(opened.tables[0]), library / WORK, workers, progress)
        appended = append(library, opened, rows, progress)
        addition = {**facts, **report.facts(), "added": appended.added, "merged": appended.merged}
        if appended.changed:
            manifest = dict(opened.manifest)
            manifest["additions"] = [*manifest.get("additions", []), addition]
            commit(library, appended.parts, appended.indices, manifest)
        shutil.rmtree(library / WORK, ignore_errors=True)
    return addition


def _entries(sources: Sequence[str | Path]) -> Iterable[Entry | Refusal]:
    if not sources:
        raise LibraryError("no source was given")
    return (item for source in sources for item in read_source(source))


def _parameters(sources: Sequence[str | Path]) -> dict[str, Any]:
    names = [source if ":" in str(source) else Path(source).name for source in sources]
    return {"sources": [str(name) for name in names]}


def _reasons(report: Report) -> str:
    return ", ".join(f"{reason} ({count})" for reason, count in report.refusals.items()) or "they are empty"
