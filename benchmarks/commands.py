"""What the subcommands of ``automat bench`` do.

Prefect reads its settings when it is imported: nothing here may import it before `orchestration` has set them.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich.table
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from benchmarks.request import Request
from benchmarks.suites import Suite
from flows.private_server import orchestration
from flows.terminal import watching
from microscopy.cache import cache_folder

if TYPE_CHECKING:
    from benchmarks.tables import Table

EVERY = 60.0
"""Seconds between two lines where there is no terminal to draw a bar on."""


def run_suite(suite: Suite, out: Path, request: Request) -> Path:
    """Plan, measure and report on a suite; returns the page.

    Raises
    ------
    AutoMatError
        If the source holds nothing usable, a folder cannot be written, or Prefect cannot be started.
    """
    with orchestration(cache_folder()) as prefect:
        from benchmarks.report import sections_of, write_report
        from benchmarks.results import pending
        from benchmarks.sweep import run

        plan = _plan(suite, out, request)
        keys, energies = pending(out, plan)
        done = len(plan.cases) - len(keys)
        say(f"{suite.name}: {len(plan.materials)} materials, {len(plan.cases)} images, {done} already measured")
        prefect.wait()
        with _counting(len(keys) + len(energies)) as counted:
            workers = 1 if suite.serial else request.workers
            run(plan, out, workers, request.runner, counted, None if suite.serial else request.scheduler)
        if suite.peers:
            from benchmarks.peers.stage import compare_peers

            compare_peers(plan, out, say)
        page = write_report(out)
        _show(next((each.table for each in sections_of(out) if each.table is not None), None))
        return page


def build_images(suite: Suite, out: Path, request: Request) -> Path:
    """Write the images of a suite; see `benchmarks.dataset`."""
    from benchmarks.dataset import write_dataset

    plan = _plan(suite, out, request)
    with watching() as watch:
        return write_dataset(plan, out, watch.count)


def _plan(suite: Suite, out: Path, request: Request) -> Any:
    from benchmarks.sweep import make_plan

    if suite.needs_source and request.source is None:
        say(f"{suite.name} is meant for published monolayers (--source FILE.db); this is the embedded library")
    with watching() as watch:
        return make_plan(suite, request, out, cache_folder() / "bench", watch.count)


def export_run(folder: Path, out: Path) -> Path:
    """Write the predictions of a run in the layout of STEM2Crystal-Bench; see `benchmarks.stem2crystal.export`."""
    from benchmarks.stem2crystal.export import export_predictions

    return export_predictions(folder, out)


def _show(table: Table | None) -> None:
    """Print a table of a report on stderr."""
    if table is None:
        return
    shown = rich.table.Table(title=table.title, title_justify="left", caption=table.note, caption_justify="left")
    for column in table.columns:
        shown.add_column(column)
    for row in table.cells:
        shown.add_row(*row)
    Console(stderr=True, highlight=False).print(shown)


def say(text: str) -> None:
    """One line on stderr."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def _counting(total: int) -> Iterator[Any]:
    """Count what is measured: a bar with the time left on a terminal, a line a minute elsewhere."""
    console = Console(stderr=True)
    seen: Counter[str] = Counter()
    started = printed = time.monotonic()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("starting workers", total=total)

        def counted(outcome: dict[str, Any]) -> None:
            nonlocal printed
            seen["done"] += 1
            seen["right"] += sum(outcome["right"])
            seen["answers"] += len(outcome["right"])
            if outcome["error"]:
                seen["failed"] += 1
                progress.console.print(f"{outcome['name']}: {outcome['error']}", markup=False, highlight=False)
            text = f"{seen['right']} of {seen['answers']} answers right"
            progress.update(bar, advance=1, description=text)
            now = time.monotonic()
            if not console.is_terminal and (now - printed > EVERY or seen["done"] == total):
                printed = now
                left = (now - started) / seen["done"] * (total - seen["done"])
                say(f"{seen['done']} of {total} done, {text}, {left / 60:.0f} min left")

        yield counted
