"""``automat doctor``: what is wrong here, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.common import Json, Libraries, print_json


def doctor(
    folder: Annotated[
        Path | None, typer.Argument(help="A watched folder, or the one with its results, to look at as well.")
    ] = None,
    library: Libraries = None,
    potential: Annotated[
        str | None, typer.Option("--potential", help="Name of a potential, or path of a checkpoint.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Look at everything a run relies on; exit code 1 if something is broken."""
    from flows.doctor import State, examination, examine
    from flows.doctor.terminal import screen, show_section, show_summary

    console = screen()
    found = []
    for section, findings in examine(examination(folder, library or (), potential)):
        found += [(section, each) for each in findings]
        if not as_json:
            show_section(console, section, findings)
    broken = any(each.state is State.BROKEN for _, each in found)
    if as_json:
        print_json({"healthy": not broken, "findings": [{"section": name, **asdict(each)} for name, each in found]})
    else:
        show_summary(console, [each for _, each in found])
    raise typer.Exit(int(broken))
