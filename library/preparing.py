"""Entries of sources made into rows: cleaned and fingerprinted in batches, each kept in a file as soon as it is done.

A file is named by what its batch holds. An interrupted build that is started again finds its finished batches, wherever
the interruption fell, and a changed source makes others.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from library.cleaning import CleaningError, clean
from library.fingerprint import FINGERPRINT_VERSION, fingerprints
from library.folder import SCHEMA
from library.records import Progress, Template
from library.sources import Entry, Refusal
from library.table import to_table
from library.workers import HERE, Workers, completed
from microscopy.errors import LibraryError
from microscopy.micrograph import Modality

BATCH = 256
"""Entries of one file: what an interruption costs, a second or two."""

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
    workers: Workers = HERE,
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
        Folder for finished batches, made when absent; all workers see it at this path.
    workers
        Who does it, batch by batch.
    progress
        Told how many entries are done.

    Returns
    -------
    tuple
        Rows in the order of the entries, memory-mapped, with fingerprints; and the counts.
    """
    work.mkdir(parents=True, exist_ok=True)
    prepare_one = partial(prepare_batch, modalities=tuple(modalities), work=work.resolve())
    files: dict[int, Path] = {}
    done = 0
    with closing(completed(workers, prepare_one, _batches(entries))) as finished:
        for place, (file, count) in finished:
            files[place] = file
            done += count
            if progress is not None:
                progress("clean and fingerprint", done, None)
    report = Report(Counter(), Counter(), {})
    joined = work / "rows.arrow"
    with pa.OSFile(str(joined), "wb") as sink:
        writer = None
        for _, file in sorted(files.items()):
            table = _read(file)
            writer = writer or pa.ipc.new_file(sink, table.schema.remove_metadata())
            writer.write_table(table.replace_schema_metadata(None))
            counts = json.loads(table.schema.metadata[REPORT])
            report = report.merged(
                Report(Counter(counts["sources"]), Counter(counts["refusals"]), counts["refusal_examples"])
            )
        writer = writer or pa.ipc.new_file(sink, _table([], modalities).schema)
        writer.close()
    return _read(joined), report


def prepare_batch(items: Sequence[Entry | Refusal], modalities: Sequence[Modality], work: Path) -> tuple[Path, int]:
    """File of one batch, made unless it is there, and how many entries it is of."""
    file = work / f"{_key(items, modalities)}.arrow"
    if not file.exists():
        with threadpool_limits(1):  # sums over another number of threads end in other digits
            templates, report = clean_all(items)
            table = _table(templates, modalities).replace_schema_metadata({REPORT: json.dumps(report.facts())})
        draft = work / f"{uuid.uuid4().hex}.part"  # two workers may have the same batch, one of them given up for dead
        with pa.OSFile(str(draft), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        draft.replace(file)
    return file, len(items)


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


def _read(file: Path) -> pa.Table:
    """Rows of a file, memory-mapped."""
    try:
        with pa.memory_map(str(file)) as source:
            return pa.ipc.open_file(source).read_all()
    except FileNotFoundError as error:
        raise LibraryError(
            f"{file}: a worker wrote it, but it is not here; the folder of the library must be the same one, at the "
            "same path, on all machines that work on it"
        ) from error


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
