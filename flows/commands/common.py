"""What every command shares: options, the separation of answers from talk, errors in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

Out = Annotated[Path, typer.Option("--out", help="Parent of the run folders.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document per input, and nothing else.")]
Elements = Annotated[str | None, typer.Option(help="All elements that are present, such as Mo,S.")]
Formula = Annotated[str | None, typer.Option(help="Chemical formula, such as MoS2.")]
PixelSize = Annotated[str | None, typer.Option(help="Å per pixel: one number, or y,x; reconstruct: or 'estimate'.")]
Dose = Annotated[float | None, typer.Option(help="Electrons per Å².", min=0.0)]
ModalityName = Annotated[str | None, typer.Option("--modality", help="idpc, haadf, adf, abf, phase or unknown.")]
Libraries = Annotated[
    list[Path] | None, typer.Option("--library", help="Library folder, repeatable; the embedded library by default.")
]

WorkerCount = Annotated[int, typer.Option("--workers", "--processes", help="Pieces of work done at once.", min=1)]
RunnerName = Annotated[str, typer.Option("--runner", help="Processes of this machine: process; or dask.")]
Scheduler = Annotated[
    str | None, typer.Option("--scheduler", help="Address of a Dask cluster that is there, with its own workers.")
]


def print_json(document: Any) -> None:
    """Print one document on one line of stdout."""
    print(json.dumps(document, ensure_ascii=False, default=str), flush=True)


@contextmanager
def quiet_stdout() -> Iterator[None]:
    """Keep stdout for answers: what libraries print goes to stderr."""
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End with one line and exit code 1 on an expected error, 130 on Ctrl-C."""
    from flows.terminal import complain
    from microscopy.errors import AutoMatError

    try:
        yield
    except AutoMatError as error:
        complain(str(error))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        complain("interrupted")
        raise typer.Exit(130) from None
