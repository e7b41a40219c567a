"""``automat bench``: run a suite, report on it, hand its predictions to another evaluator."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.request import Request
from flows import arguments
from flows.commands.common import RunnerName, Scheduler, one_line_errors, quiet_stdout

app = typer.Typer(help="Measure how right the answers are, against peers and limits.", no_args_is_help=True)

SEED = 2026


@app.command("list")
def list_suites() -> None:
    """Name the suites and what each one is for."""
    from benchmarks.suites import SUITES

    for suite in SUITES.values():
        print(f"{suite.name:14} {suite.purpose}")


Source = Annotated[
    Path | None,
    typer.Option(
        envvar="AUTOMAT_BENCH_SOURCE",
        help="True structures: ASE database, structure file, folder or zip. The embedded library by default.",
    ),
]
Ids = Annotated[Path | None, typer.Option(envvar="AUTOMAT_BENCH_IDS", help="File of the ids to draw from, one a line.")]
Limit = Annotated[int | None, typer.Option(help="Materials at most; each suite has its own number.", min=1)]
Workers = Annotated[int | None, typer.Option(help="Processes; one a core by default.", min=1)]
PotentialName = Annotated[
    str | None, typer.Option("--potential", help="Name or path; the product's default if not given.")
]
Seed = Annotated[int, typer.Option(help="Of the draw, the views and the noise.", min=0)]


@app.command()
def run(
    suite: Annotated[str, typer.Argument(help="Name of a suite; 'automat bench list' shows them.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; an unfinished run in it goes on.")],
    source: Source = None,
    ids: Ids = None,
    limit: Limit = None,
    workers: Workers = None,
    runner: RunnerName = "process",
    scheduler: Scheduler = None,
    seed: Seed = SEED,
    potential: PotentialName = None,
) -> None:
    """Run a suite and report on it. Images already measured by this version are not measured again."""
    request = replace(_request(source, ids, limit, workers, runner, seed), potential=potential, scheduler=scheduler)
    with one_line_errors(), quiet_stdout():
        from benchmarks.commands import run_suite
        from benchmarks.suites import find_suite

        page = run_suite(find_suite(suite), out, request)
    print(page)


@app.command("all")
def run_all(
    out: Annotated[Path, typer.Option("--out", help="Parent of one folder for each suite.")],
    source: Source = None,
    ids: Ids = None,
    limit: Annotated[int | None, typer.Option(help="Materials at most in any suite.", min=1)] = None,
    workers: Workers = None,
    runner: RunnerName = "process",
    scheduler: Scheduler = None,
    seed: Seed = SEED,
    document: Annotated[
        list[Path] | None, typer.Option(help="Markdown file whose tables are to be replaced; repeatable.")
    ] = None,
) -> None:
    """Run every suite, and put the tables into a document."""
    request = replace(_request(source, ids, limit, workers, runner, seed), scheduler=scheduler)
    with one_line_errors(), quiet_stdout():
        from benchmarks.commands import run_suite, say
        from benchmarks.suites import SUITES

        for suite in SUITES.values():
            limits = [number for number in (limit, suite.limit) if number is not None]
            most = replace(request, limit=min(limits, default=None))
            say(str(run_suite(suite, out / suite.name, most)))
        from benchmarks.document import fill

        for page in document or ():
            for name in fill(page, out):
                say(f"{page}: {name}")
    print(out)


@app.command()
def build(
    suite: Annotated[str, typer.Argument(help="Name of a suite.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the images, the true structures and their manifest.")],
    source: Source = None,
    ids: Ids = None,
    limit: Limit = None,
    seed: Seed = SEED,
) -> None:
    """Write the images of a suite as files, with the truth."""
    request = _request(source, ids, limit, None, "process", seed)
    with one_line_errors(), quiet_stdout():
        from benchmarks.commands import build_images
        from benchmarks.suites import find_suite

        manifest = build_images(find_suite(suite), out, request)
    print(manifest)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a run, finished or not.")],
) -> None:
    """Write report.md and report.html from what has been measured so far."""
    with one_line_errors(), quiet_stdout():
        from benchmarks.report import write_report

        page = write_report(folder)
    print(page)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Folder of a run of the stem2crystal suite.")],
    layout: Annotated[str, typer.Option(help="stem2crystal.")] = "stem2crystal",
    out: Annotated[Path | None, typer.Option("--out", help="Where to; FOLDER/LAYOUT by default.")] = None,
) -> None:
    """Write the predictions of a run in the layout of another benchmark's evaluator."""
    if layout != "stem2crystal":
        arguments.usage(f"--layout {layout!r}: the only one is stem2crystal")
    with one_line_errors(), quiet_stdout():
        from benchmarks.commands import export_run

        target = export_run(folder, out or folder / layout)
    print(target)


def _request(
    source: Path | None, ids: Path | None, limit: int | None, workers: int | None, runner: str, seed: int
) -> Request:
    """Check what was typed."""
    arguments.runner(runner)
    names = None
    if ids is not None:
        try:
            names = tuple(ids.read_text(encoding="utf-8").split())
        except (OSError, UnicodeDecodeError) as error:
            arguments.usage(f"--ids {ids}: {getattr(error, 'strerror', None) or error}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers are processes; more threads would fight over the cores
    command = shlex.join(["automat", *sys.argv[1:]])
    return Request(source, names, limit, seed, workers or os.cpu_count() or 1, runner, command)
