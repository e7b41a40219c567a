"""``automat library generate``: a library from structure types and rules instead of published structures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows import arguments
from flows.commands.common import (
    Elements,
    Json,
    RunnerName,
    Scheduler,
    WorkerCount,
    one_line_errors,
    print_json,
    quiet_stdout,
)


def generate(
    out: Annotated[Path, typer.Option("--out", help="Folder of the library.")],
    prototype: Annotated[
        list[Path] | None,
        typer.Option(help="Prototype file (.toml) or a folder of them, repeatable; those of AutoMat by default."),
    ] = None,
    potential: Annotated[
        str | None, typer.Option(help="Name of a potential, or path of a checkpoint; SevenNet by default.")
    ] = None,
    elements: Elements = None,
    workers: WorkerCount = 1,
    runner: RunnerName = "process",
    scheduler: Scheduler = None,
    as_json: Json = False,
) -> None:
    """Fill structure types with elements, relax each, and keep what is physical. Started again, it continues."""
    arguments.runner(runner)
    known = arguments.symbols(elements) if elements is not None else None
    with one_line_errors(), quiet_stdout():
        from flows import cluster
        from flows.terminal import show_library, watching
        from library.generate import generate_library
        from library.prototype_files import PROTOTYPES, read_prototypes
        from library.store import Library

        prototypes = read_prototypes(prototype or [PROTOTYPES])
        with watching() as watch:
            team = cluster.workers(workers, runner, scheduler)
            manifest = generate_library(
                prototypes, out, potential=potential, elements=known, workers=team, progress=watch.count
            )
    if as_json:
        print_json(manifest)
    else:
        show_library(Library.open(out))
