"""``automat potentials``: which are known, which are here, and how the others come here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.common import Json, one_line_errors, print_json, quiet_stdout

if TYPE_CHECKING:
    from models.potentials import Potential

app = typer.Typer(help="Interatomic potentials: list and fetch them.", no_args_is_help=True)


@app.command("list")
def list_potentials(as_json: Json = False) -> None:
    """List the potentials that are known, and what is on this machine."""
    from models.potentials import inventory

    with one_line_errors(), quiet_stdout():
        found = inventory()
    if as_json:
        print_json([{"wanted": wanted, **_facts(each)} for wanted, each in found])
    else:
        _show(found)


@app.command("fetch")
def fetch_potential(
    potential: Annotated[str, typer.Argument(help="Name of a potential, or URL of a MatterSim checkpoint.")],
    sha256: Annotated[str | None, typer.Option(help="Digest that the file must have.")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Take what a URL gives, and hold to it from then on.")] = False,
) -> None:
    """Fetch the weights of a potential, once; an interrupted transfer goes on where it stopped."""
    from models.potentials import fetch

    with one_line_errors(), quiet_stdout(), _transfer(potential) as progress:
        path = fetch(potential, sha256, trust, progress=progress)
    print(path)


def _facts(found: Potential | str) -> dict[str, Any]:
    if isinstance(found, str):
        return {"here": False, "note": found}
    return {
        "here": True,
        "name": found.name,
        "family": found.family,
        "path": str(found.path),
        "sha256": found.checkpoint,
        "scale": found.scale,
        "precision": found.precision,
        "elements": len(found.elements),
        "note": found.fallback,
    }


def _show(found: list[tuple[str, Potential | str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for heading in ("potential", "sha256", "scale", "elements"):
        table.add_column(heading, overflow="fold")
    absent = []
    for wanted, each in found:
        if isinstance(each, str):
            table.add_row(wanted, Text("not here", style="yellow"), "", "")
            absent.append(each)
        else:
            table.add_row(wanted, each.checkpoint[:16], each.scale, str(len(each.elements)))
            absent.extend([each.fallback] if each.fallback else [])
    console = Console(highlight=False)
    console.print(table)
    for reason in absent:
        console.print(Text(reason, style="dim"))


@contextmanager
def _transfer(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show bytes on a terminal; nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name.rsplit("/", 1)[-1], total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
