"""``automat retry``: let what failed be processed again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows import arguments
from flows.commands.common import one_line_errors
from flows.commands.status import Folder


def retry(
    folder: Folder,
    which: Annotated[
        list[str] | None,
        typer.Argument(help="Files, digests (six digits are enough) or run folders.", metavar="[FILE|SHA]..."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Everything that failed.")] = False,
) -> None:
    """Process micrographs again: those that failed, or done ones that are named. The watcher takes them up."""
    from intake.choosing import choose
    from intake.ledger import Ledger
    from intake.places import LEDGER, find_out, shown
    from intake.records import State

    if bool(which) == every:
        arguments.usage("retry: name files, digests or run folders, or give --all for everything that failed")
    with one_line_errors():
        out = find_out(folder)
        with Ledger(out / LEDGER) as ledger:
            look = ledger.look()
            root = Path(look.root) if look else None
            chosen = ledger.contents(State.FAILED) if every else choose(ledger, which or (), root)
            again = ledger.retry(chosen)
            places = {each.sha256: ledger.places(each.sha256) for each in again}
    for each in again:
        gone = "" if places[each.sha256] else "; its file is gone, put it back"
        typer.echo(f"{shown(each.path)}: waits for round {each.round + 2}{gone}")
    if every and not again:
        typer.echo("nothing has failed", err=True)
