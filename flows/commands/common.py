"""What every command shares: options, the separation of answers from talk, errors in one line."""

from __future__ import annotations

import json
import logging
import os
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
Exclude = Annotated[list[str] | None, typer.Option(help="Template id or formula to leave out; repeatable.")]
PotentialName = Annotated[str | None, typer.Option("--potential", help="Name of a potential, or path of a checkpoint.")]
PlannerName = Annotated[
    str | None, typer.Option("--planner", help="Who decides after a failed check: rules, llm, replay:FILE or none.")
]
NoRelax = Annotated[bool, typer.Option("--no-relax", help="Skip relaxation and energies.")]
Config = Annotated[Path | None, typer.Option(help="TOML file of settings; options here win.")]


def settings_of(config: Path | None, overrides: dict[str, Any]) -> Any:
    """`flows.settings.Settings` from a file and the command line; what is wrong in them is wrong usage."""
    from flows import arguments
    from flows.settings import load_settings
    from microscopy.errors import AutoMatError
    from tasks.resources import planner_ref

    try:
        settings = load_settings(config, overrides)
        planner_ref(settings.planner)  # one that cannot be asked is said before anything runs
        return settings
    except AutoMatError as error:
        arguments.usage(str(error))


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


@contextmanager
def connected(wait: bool = True) -> Iterator[None]:
    """Make this process a client of the server that ``PREFECT_API_URL`` names; ``wait``: ask whether it is there.

    Raises
    ------
    OrchestrationError
        If none is named, or it does not answer.
    """
    from flows.private_server import API_URL, OrchestrationError, Orchestrator, worker_environment
    from microscopy.cache import cache_folder

    url = os.environ.get(API_URL)
    if not url:
        example = "http://127.0.0.1:4200/api"
        raise OrchestrationError(f"no server: start one with 'automat serve' and set {API_URL}={example}")
    os.environ.update(worker_environment(cache_folder()))
    if wait:
        Orchestrator(url, None).wait()
    yield


def logging_to_stderr() -> None:
    """Show what a long-running command has to say, with the time, unless all is shown anyway."""
    logger = logging.getLogger("automat")
    if logger.isEnabledFor(logging.DEBUG):
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
