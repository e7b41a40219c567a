"""Rows as JSON lines, tables as Markdown, and figures with their errors."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.denoiser.statistics import mean_error
from benchmarks.measuring import threads
from benchmarks.tables import Table
from tasks.store import write_atomically

Row = dict[str, Any]


def kept(rows: Iterable[Row], path: Path) -> Iterator[Row]:
    """Write rows as they come, one a line, so that a run that is stopped has what it measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, default=float) + "\n")
            file.flush()
            yield row


def measured(
    rows: Iterable[Row], tabulate: Callable[[Sequence[Row]], list[Table]], folder: Path, name: str, command: str
) -> None:
    """Measure on one thread, and keep rows and tables as ``NAME.jsonl`` and ``NAME.md``."""
    with threads(1):
        found = list(kept(rows, folder / f"{name}.jsonl"))
    write_tables(tabulate(found), folder / f"{name}.md", command)


def write_tables(tables: Sequence[Table], path: Path, command: str) -> None:
    """Print tables, and write them as one Markdown file headed by the command that made them."""
    parts = [f"    {command}"]
    for table in tables:
        parts += [f"## {table.title}", table.markdown(), table.note]
    text = "\n\n".join(part for part in parts if part) + "\n"
    print(text)
    write_atomically(path, text.encode())


def with_error(values: Sequence[float | None], form: str = ".2f") -> str:
    """``25.31 ± 0.12``: mean and standard error of what there is."""
    present = [value for value in values if value is not None and math.isfinite(value)]
    if not present:
        return "–"
    mean, error = mean_error(present)
    return figure(mean, error, form)


def figure(value: float, error: float, form: str = ".3f") -> str:
    """A value with its standard error where it has one."""
    if not math.isfinite(value):
        return "–"
    return format(value, form) + (f" ± {error:{form}}" if math.isfinite(error) else "")


def dose_text(dose: float | None) -> str:
    """Dose for a table."""
    return "no noise" if dose is None else f"{dose:g}"
