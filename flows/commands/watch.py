"""``automat watch``: everything that one folder needs, in one command."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from flows import arguments
from flows.commands.common import (
    Config,
    Dose,
    Elements,
    Exclude,
    Formula,
    Libraries,
    ModalityName,
    NoRelax,
    PixelSize,
    PlannerName,
    PotentialName,
    connected,
    logging_to_stderr,
    one_line_errors,
    settings_of,
)
from flows.commands.service import Port

SHORTEST = 2
"""Seconds between two looks: less finds half-written files only."""

SETTLE = 5.0
"""Seconds for which a file must not have changed: instruments write in pieces."""

IN_FLIGHT = 32
"""Runs handed to the workers at most: the others wait in the ledger, which outlives the server."""


def watch(
    folder: Annotated[Path, typer.Argument(help="Folder that micrographs are dropped into.", metavar="DIR")],
    every: Annotated[str, typer.Option(help="Time between two looks, such as 30s or 5m.")] = "30s",
    out: Annotated[Path | None, typer.Option(help="Results and ledger; DIR-results beside DIR by default.")] = None,
    workers: Annotated[int, typer.Option(help="Micrographs at a time; 0: workers elsewhere take them.", min=0)] = 1,
    port: Port = 4200,
    pixel_size: PixelSize = None,
    elements: Elements = None,
    formula: Formula = None,
    dose: Dose = None,
    modality: ModalityName = None,
    library: Libraries = None,
    exclude: Exclude = None,
    potential: PotentialName = None,
    planner: PlannerName = None,
    no_relax: NoRelax = False,
    config: Config = None,
    cache_limit: Annotated[
        str | None, typer.Option(help="What the cache may grow to, as 50GB; 20GB by default, 0 for no limit.")
    ] = None,
) -> None:
    """Reconstruct whatever is dropped into a folder, until interrupted.

    Runs a Prefect server with its UI, a schedule and workers; with PREFECT_API_URL set, on that server.
    What is known of a file (elements, pixel size, …) may stand beside it: image.tif.toml, or automat.toml for a folder.
    """
    from intake.places import check_places, default_out

    interval = _interval(every)
    if not folder.is_dir():
        arguments.usage(f"{folder} is not a folder")
    root = folder.absolute()
    results = (out or default_out(root)).absolute()
    overrides = arguments.overrides(
        pixel_size=pixel_size,
        elements=elements,
        formula=formula,
        dose=dose,
        modality=modality,
        library=[path.absolute() for path in library] if library else None,
        exclude=exclude,
        potential=potential,
        planner=planner,
        no_relax=no_relax,
    )
    if cache_limit is not None:
        overrides["cache_limit"] = arguments.size(cache_limit, "--cache-limit")
    own = not os.environ.get("PREFECT_API_URL")
    with one_line_errors(), _server(port) as ui:
        from flows.room import keep_within

        check_places(root, results)
        settings = settings_of(config, overrides)
        keep_within(settings.cache_limit)
        _watch(root, results, interval, workers, settings.model_dump(mode="json"), ui, own)


def _watch(
    root: Path, results: Path, interval: timedelta, workers: int, settings: dict[str, Any], ui: str, own: bool
) -> None:
    from flows.deploy import crash_leftovers, deploy, deployment_name, paused, schedule
    from flows.topology import FLOW, WATCH
    from flows.worker import serve
    from intake.claims import only_watcher
    from intake.ledger import Ledger
    from intake.places import LEDGER

    logging_to_stderr()
    _share_cores(workers)
    with only_watcher(results):
        Ledger(results / LEDGER, root=root).close()  # refuses the ledger of another folder before anything runs
        deploy()
        name = deployment_name(root)
        # Whoever had the lock before may have been killed; and a server of our own has no other workers.
        crash_leftovers(f"drop-folder/{name}", *(["reconstruct-file/automat"] if own else []))
        places = {"folder": str(root), "out": str(results)}
        schedule(name, interval, {**places, "settings": settings, "in_flight": IN_FLIGHT, "settle": SETTLE})
        typer.echo(f"Watching {root} every {interval.seconds} s; results in {results}", err=True)
        typer.echo(
            f"The files: {ui}/v2/runs?tags=drop   (Ctrl-C stops; what is unfinished goes on at the next start)",
            err=True,
        )
        threading.Thread(target=_tell, args=(results,), daemon=True).start()
        pools: list[tuple[str, tuple[str, ...], int]] = [(WATCH.name, (), 1)]
        if workers:
            pools.append((FLOW.name, (), workers))
        serve(pools, f"watch-{name}")
        with suppress(Exception):  # a server that is gone has no schedule to pause
            paused(name)
        typer.echo("automat: stopped", err=True)


@contextmanager
def _server(port: int) -> Iterator[str]:
    """The server to use: the one that is named, or one of our own. Gives the address of its UI."""
    from flows.lab_server import LocalServer
    from flows.private_server import API_URL

    if url := os.environ.get(API_URL):
        with connected():
            yield url.rstrip("/").removesuffix("/api")
        return
    server = LocalServer(port)
    try:
        server.start()
        os.environ[API_URL] = server.api_url
        with connected(wait=False):
            server.wait()
            yield server.ui_url
    finally:
        os.environ.pop(API_URL, None)
        server.stop()


def _tell(results: Path) -> None:
    """Print a line for each micrograph that gets an answer."""
    from flows.following import follow

    for line in follow(results):
        typer.echo(line)


def _share_cores(workers: int) -> None:
    """Give each process its share of the cores: numerical libraries would take all of them each."""
    share = max(1, (os.cpu_count() or 1) // max(1, workers))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, str(share))


def _interval(text: str) -> timedelta:
    seconds = arguments.seconds(text, "--every")
    if seconds < SHORTEST:
        arguments.usage(f"--every {text!r}: give a time of at least {SHORTEST} s, such as 30s, 5m or 1h")
    return timedelta(seconds=seconds)
