"""``automat status``: what has become of the files of a watched folder."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.common import Json, one_line_errors, print_json

if TYPE_CHECKING:
    from intake.overview import Overview, Row

Folder = Annotated[Path, typer.Argument(help="The watched folder, or the one with its results.", metavar="DIR|OUT")]

WIDE = 160
"""Columns where there is no terminal to ask."""

COLOURS = {
    **{"done": "green", "failed": "red", "refused": "red", "running": "cyan", "settling": "dim"},
    **{"accepted": "green", "ambiguous": "yellow", "rejected": "red"},
}


def status(
    folder: Folder = Path(),
    failed: Annotated[bool, typer.Option("--failed", help="Only what failed or was refused.")] = False,
    last: Annotated[int, typer.Option(help="Show the newest only, so many; 0 shows all.", min=0)] = 50,
    as_json: Json = False,
) -> None:
    """Show what has become of the files of a watched folder, the newest last."""
    from intake.claims import watcher
    from intake.ledger import Ledger
    from intake.overview import overview
    from intake.places import LEDGER, find_out

    with one_line_errors():
        out = find_out(folder)
        with Ledger(out / LEDGER, readonly=True) as ledger:
            found = overview(ledger, failed=failed)
        watched_by = watcher(out)
    if as_json:
        print_json(_document(found, out, watched_by))
    else:
        _show(found, out, watched_by, last)


def _document(found: Overview, out: Path, watched_by: str | None) -> dict[str, Any]:
    look = found.look
    return _text(
        {
            "root": look.root if look else None,
            "out": str(out),
            "looked_at": look.at if look else None,
            "watched_by": watched_by,
            "trouble": look.trouble if look else (),
            "warnings": look.warnings if look else (),
            "totals": found.counts,
            "contents": [asdict(each) for each in found.contents],
            "files": [asdict(each) for each in found.files],
        }
    )


def _text(value: Any) -> Any:
    """Escape what is no Unicode, as bytes in names may be."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {name: _text(each) for name, each in value.items()}
    return [_text(each) for each in value] if isinstance(value, list | tuple) else value


def _show(found: Overview, out: Path, watched_by: str | None, last: int) -> None:
    from rich.console import Console
    from rich.text import Text

    from intake.overview import totals
    from intake.places import shown

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(console.width, WIDE))
    rows = found.rows()
    if rows:
        console.print(_table(rows[-last:]))
    if len(rows) > last > 0:
        console.print(Text(f"the newest {last} of {len(rows)} shown; --last 0 shows all", style="dim"))
    console.print(Text(totals(found)))
    if found.look is None:
        console.print(Text("nobody has looked into the folder yet; start 'automat watch'", style="yellow"))
        return
    by = f" by {watched_by}" if watched_by else ""
    ago = _ago(time.time() - found.look.at)
    console.print(
        Text(f"{shown(found.look.root)}: looked into {ago} ago{by}; results in {shown(str(out))}", style="dim")
    )
    for sentence in (*found.look.trouble, *found.look.warnings):
        console.print(Text(f"Note: {sentence}", style="yellow"))


def _table(rows: list[Row]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for heading in ("name", "state", "status", "formula"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("state", "status"))
    for heading in ("confidence", "tries"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("when", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for row in rows:
        tries = "" if row.tries is None else str(row.tries)
        table.add_row(
            Text(row.name),
            Text(row.state, style=COLOURS.get(row.state, "")),
            Text(row.status or "", style=COLOURS.get(row.status or "", "")),
            Text(row.formula or ""),
            "" if row.confidence is None or row.status == "failed" else f"{100 * row.confidence:.0f} %",
            f"{tries}, round {row.round + 1}" if row.round else tries,
            _when(row.at),
            Text(row.reason),
        )
    return table


def _when(at: float) -> str:
    """Time of today, or date and time."""
    then, now = time.localtime(at), time.localtime()
    same_day = (then.tm_year, then.tm_yday) == (now.tm_year, now.tm_yday)
    return time.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M", then)


def _ago(seconds: float) -> str:
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
