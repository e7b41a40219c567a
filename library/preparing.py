"""Entries of sources made into rows: cleaned and fingerprinted in batches, each kept in a file as soon as it is done.

A file is named by what its batch holds. An interrupted build that is started again finds its finished batches, wherever
the interruption fell, and a changed source makes others.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import os
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from library.cleaning import CleaningError, clean
from library.fingerprint import FINGERPRINT_VERSION, fingerprints
from library.folder import SCHEMA
from library.records import Progress, Template
from library.sources import Entry, Refusal
from library.table import to_table
from microscopy.micrograph import Modality

BATCH = 256
"""Entries of one file: what an interruption costs, a second or two."""

AHEAD = 4
"""Batches read ahead for each process."""

REPORT = b"automat"
"""Key of a table's metadata under which the counts of its batch are."""


@dataclass(frozen=True)
class Report:
    """Entries read by source, refusals by reason, and one example of each reason."""

    sources: Counter[str]
    refusals: Counter[str]
    examples: dict[str, str]

    def merged(self, other: Report) -> Report:
        """Both together."""
        return Report(self.sources + other.sources, self.refusals + other.refusals, {**other.examples, **self.examples})

    def facts(self) -> dict[str, dict[str, int] | dict[str, str]]:
        """What the manifest says of it."""
        return {
            "sources": dict(self.sources),
            "refusals": dict(self.refusals),
            "refusal_examples": self.examples,
        }


def prepare(
    entries: Iterable[Entry | Refusal],
    modalities: Sequence[Modality],
    work: Path,
    processes: int = 1,
    progress: Progress | None = None,
) -> tuple[pa.Table, Report]:
    """Clean and fingerprint entries; refusals are counted.

    Parameters
    ----------
    entries
        From ``library.sources``.
    modalities
        Of the fingerprints.
    work
        Folder for finished batches, made when absent.
    processes
        Batches worked on at once.
    progress
        Told how many entries are done.

    Returns
    -------
    tuple
        Rows in the order of the entries, memory-mapped, with fingerprints; and the counts.
    """
    work.mkdir(parents=True, exist_ok=True)
    report = Report(Counter(), Counter(), {})
    joined = work / "rows.arrow"
    done = 0
    with pa.OSFile(str(joined), "wb") as sink:
        writer = None
        for file, count in _prepared(_batches(entries), tuple(modalities), work, processes):
            with pa.memory_map(str(file)) as source:
                table = pa.ipc.open_file(source).read_all()
            writer = writer or pa.ipc.new_file(sink, table.schema.remove_metadata())
            writer.write_table(table.replace_schema_metadata(None))
            counts = json.loads(table.schema.metadata[REPORT])
            report = report.merged(
                Report(Counter(counts["sources"]), Counter(counts["refusals"]), counts["refusal_examples"])
            )
            done += count
            if progress is not None:
                progress("clean and fingerprint", done, None)
        writer = writer or pa.ipc.new_file(sink, _table([], modalities).schema)
        writer.close()
    with pa.memory_map(str(joined)) as source:
        return pa.ipc.open_file(source).read_all(), report


def prepare_batch(items: Sequence[Entry | Refusal], modalities: Sequence[Modality], work: Path) -> Path:
    """File of one batch, made unless it is there."""
    file = work / f"{_key(items, modalities)}.arrow"
    if file.exists():
        return file
    templates, report = clean_all(items)
    table = _table(templates, modalities).replace_schema_metadata({REPORT: json.dumps(report.facts())})
    draft = file.with_suffix(".part")
    with pa.OSFile(str(draft), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    draft.replace(file)
    return file


def clean_all(items: Iterable[Entry | Refusal]) -> tuple[list[Template], Report]:
    """Templates of the usable entries, and the counts."""
    templates = []
    report = Report(Counter(), Counter(), {})
    for item in items:
        refusal = item if isinstance(item, Refusal) else None
        if isinstance(item, Entry):
            report.sources[item.source] += 1
            try:
                templates.append(_template(item))
            except CleaningError as error:
                refusal = Refusal(item.id, error.reason, str(error))
        if refusal is not None:
            report.refusals[refusal.reason] += 1
            report.examples.setdefault(refusal.reason, f"{refusal.id}: {refusal.detail or refusal.reason}"[:200])
    return templates, report


def _template(entry: Entry) -> Template:
    structure = clean(entry.structure)
    return Template(
        id=entry.id,
        structure=structure,
        formula=structure.composition.reduced_formula,
        source=entry.source,
        version=entry.version,
        licence=entry.licence,
        url=entry.url,
        prototype=entry.prototype,
    )


def _table(templates: Sequence[Template], modalities: Sequence[Modality]) -> pa.Table:
    structures = [template.structure for template in templates]
    return to_table(
        templates,
        {modality: fingerprints(structures, modality) if structures else np.empty(0) for modality in modalities},
    )


def _batches(entries: Iterable[Entry | Refusal]) -> Iterator[list[Entry | Refusal]]:
    left = iter(entries)
    while batch := list(itertools.islice(left, BATCH)):
        yield batch


def _prepared(
    batches: Iterator[list[Entry | Refusal]], modalities: tuple[Modality, ...], work: Path, processes: int
) -> Iterator[tuple[Path, int]]:
    """Files of batches in order, and how many entries each is of; a few batches are read ahead."""
    if processes == 1:
        for batch in batches:
            yield prepare_batch(batch, modalities, work), len(batch)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_end_with_parent) as pool:
        running: deque[tuple[Future[Path], int]] = deque()
        for batch in batches:
            running.append((pool.submit(prepare_batch, batch, modalities, work), len(batch)))
            if len(running) >= AHEAD * processes:
                future, count = running.popleft()
                yield future.result(), count
        for future, count in running:
            yield future.result(), count


def _end_with_parent() -> None:
    """End this worker when the process that started it is killed: nobody else would."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _key(items: Sequence[Entry | Refusal], modalities: Sequence[Modality]) -> str:
    """Digest of all that a batch's rows follow from."""
    state = hashlib.sha256(f"{SCHEMA} {FINGERPRINT_VERSION} {[each.value for each in modalities]}".encode())
    for item in items:
        if isinstance(item, Refusal):
            state.update(repr(item).encode())
            continue
        names = (item.id, item.source, item.version, item.licence, item.url, item.prototype)
        species = [site.species_string for site in item.structure]
        state.update(repr((names, species)).encode())
        state.update(np.ascontiguousarray(item.structure.lattice.matrix).tobytes())
        state.update(np.ascontiguousarray(item.structure.frac_coords).tobytes())
    return state.hexdigest()[:32]
