"""Tables of finished runs, put into the document that quotes them.

A document has blocks between ``<!-- SUITE: TITLE -->`` and ``<!-- end -->``. Each is replaced by the table of that
title from the run of that suite, so that no figure is ever copied by hand.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.materials import BenchmarkError
from benchmarks.report import sections_of
from tasks.store import write_atomically

_BLOCK = re.compile(r"<!-- (?P<suite>[a-z0-9]+): (?P<title>[^>]+?) -->\n.*?<!-- end -->", re.DOTALL)


def fill(document: Path, runs: Path) -> list[str]:
    """Replace every block of a document by its table from ``runs/SUITE``; returns what was filled.

    Raises
    ------
    BenchmarkError
        If a block names a run or a table that is not there.
    """
    filled = []

    def table(block: re.Match[str]) -> str:
        suite, title = block["suite"], block["title"]
        for section in sections_of(runs / suite):
            if section.table is not None and section.table.title == title:
                filled.append(f"{suite}: {title}")
                note = f"\n{section.table.note}\n" if section.table.note else ""
                return f"<!-- {suite}: {title} -->\n\n{section.table.markdown()}\n{note}\n<!-- end -->"
        raise BenchmarkError(f"{document}: the run of {suite} has no table {title!r}")

    try:
        text = document.read_text(encoding="utf-8")
    except OSError as error:
        raise BenchmarkError(f"{document}: {error.strerror or error}") from error
    write_atomically(document, _BLOCK.sub(table, text).encode())
    return filled


def put(document: Path, title: str, text: str) -> None:
    """Replace what is between ``<!-- TITLE -->`` and ``<!-- end -->`` in a document.

    Raises
    ------
    BenchmarkError
        If the document has no such block.
    """
    block = re.compile(rf"<!-- {re.escape(title)} -->\n.*?<!-- end -->", re.DOTALL)
    before = document.read_text(encoding="utf-8")
    if not block.search(before):
        raise BenchmarkError(f"{document}: has no block <!-- {title} -->")
    after = block.sub(lambda _: f"<!-- {title} -->\n\n{text}\n\n<!-- end -->", before)
    write_atomically(document, after.encode())
