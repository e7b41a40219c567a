"""New rows after those of a library: duplicates become names of what is there, the rest a part of its own.

Parts stay few: a new one takes in those before it that are not at least twice as large, so that their sizes at least
halve from one to the next and a row is rewritten only some log N times.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int64

from library.duplicates import merge
from library.folder import ALIASES, Opened
from library.index import EXACT, CellIndex
from library.patterns import Patterns
from library.records import Progress
from library.store import unique_ids
from library.table import COLUMNS, modalities_of, patterns_of
from library.writing import map_part, write_index, write_part

BLOCK = 65_536
"""Rows written at once."""


@dataclass(frozen=True, eq=False)
class Appended:
    """What the manifest is to say, how many rows are new, how many were merged, and whether anything changed."""

    parts: list[Mapping[str, Any]]
    indices: Mapping[str, Mapping[str, Any]]
    added: int
    merged: int
    changed: bool


def append(path: Path, before: Opened | None, rows: pa.Table, progress: Progress | None = None) -> Appended:
    """Write new rows beside those of a library, without making them part of it yet.

    Parameters
    ----------
    path
        Folder, locked.
    before
        What it holds; None for nothing.
    rows
        Templates with their fingerprints, as from ``library.preparing``.
    progress
        Told about each stage.
    """
    tables = before.tables if before else ()
    count = sum(len(table) for table in tables)
    masks = [np.asarray(pc.is_in(t.column("formula"), pc.unique(rows.column("formula")))) for t in tables]
    both = pa.concat_tables([*(t.filter(pa.array(mask)) for t, mask in zip(tables, masks, strict=True)), rows])
    known = len(both) - len(rows)
    same = merge(both, patterns_of(both, modalities_of(both)[0]), known, progress)
    new = np.ones(len(both), bool)
    new[:known] = False
    new[list(same)] = False
    place = count + np.cumsum(new) - 1
    place[:known] = np.flatnonzero(np.concatenate([np.zeros(0, bool), *masks]))
    aliases = _aliases(both, same, place, before)
    fresh = new[known:]
    added = int(fresh.sum())
    parts: list[Mapping[str, Any]] = list(before.manifest["parts"]) if before else []
    indices = before.manifest["indices"] if before else {}
    if not added and not len(aliases):
        return Appended(parts, indices, 0, len(same), False)
    first, size = len(parts), max(added, 1)
    while first and parts[first - 1]["count"] < 2 * size:
        first -= 1
        size += parts[first]["count"]
    taken_in = itertools.chain.from_iterable(_blocks(table) for table in tables[first:])
    blocks = itertools.chain(taken_in, _fresh(rows, fresh, tables))
    older = before.aliases[first:] if before else ()
    part = write_part(path, blocks, pa.concat_tables([*older, aliases]))
    whole = [*tables[:first], map_part(path, part)]
    return Appended([*parts[:first], part], _indices(path, whole, indices, progress), added, len(same), True)


def _fresh(rows: pa.Table, fresh: Bool[np.ndarray, " N"], tables: Sequence[pa.Table]) -> Iterator[pa.Table]:
    """The rows that are new, in blocks, under ids that nothing in the library has; at least one block, if empty."""
    names = rows.select(["id", "source"]).filter(pa.array(fresh))
    ids, sources = names.column("id"), names.column("source")
    clash = pc.count_distinct(ids).as_py() < len(ids)
    clash |= any(pc.any(pc.is_in(table.column("id"), ids.combine_chunks())).as_py() for table in tables)
    if clash:
        taken = itertools.chain.from_iterable(table.column("id").to_pylist() for table in tables)
        ids = pa.chunked_array([unique_ids(ids.to_pylist(), sources.to_pylist(), taken)], pa.string())
    begin = 0
    for start in range(0, max(len(rows), 1), BLOCK):
        block = rows.slice(start, BLOCK).filter(pa.array(fresh[start : start + BLOCK]))
        yield block.set_column(0, COLUMNS.field("id"), ids.slice(begin, len(block)))
        begin += len(block)


def _blocks(table: pa.Table) -> Iterator[pa.Table]:
    return (table.slice(start, BLOCK) for start in range(0, len(table), BLOCK))


def _aliases(
    both: pa.Table, same: Mapping[int, int], place: Int64[np.ndarray, " B"], before: Opened | None
) -> pa.Table:
    """Names of duplicates that the rows they were merged into do not bear yet."""
    column, sources = both.column("id"), both.column("source")
    heard = set()
    if before is not None and same:
        rows = pa.array(sorted({int(place[first]) for first in same.values()}))
        for table in before.aliases:
            some = table.filter(pc.is_in(table.column("row"), rows))
            heard |= set(zip(some.column("row").to_pylist(), some.column("id").to_pylist(), strict=True))
    found: dict[tuple[int, str], None] = {}
    for row, first in same.items():
        id, own = column[row].as_py(), column[first].as_py()
        pair = (int(place[first]), id)
        if own not in (id, f"{sources[row].as_py()}/{id}") and pair not in heard:
            found[pair] = None
    rows, ids = zip(*found, strict=True) if found else ((), ())
    return pa.table({"row": rows, "id": ids}, schema=ALIASES)


def _indices(
    path: Path, tables: Sequence[pa.Table], indices: Mapping[str, Mapping[str, Any]], progress: Progress | None
) -> dict[str, Mapping[str, Any]]:
    """Indices for each modality; a new one once more rows than can be compared one by one lie beyond the old one."""
    result = dict(indices)
    whole = pa.concat_tables(tables)
    for modality in modalities_of(whole):
        covered = indices[modality.value]["covers"] if modality.value in indices else 0
        if len(whole) - covered > EXACT:
            if progress is not None:
                progress(f"index {modality.value}", 0, len(whole))
            patterns: Patterns = patterns_of(whole, modality)
            result[modality.value] = write_index(path, CellIndex.train(patterns))
    return result
