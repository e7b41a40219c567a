"""What the command prints: progress on stderr, answers on stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from flows.reconstruct import Outcome
    from library.store import Library
    from microscopy.inspection import Inspection
    from reporting.result import Result

COLOURS = {"accepted": "green", "ambiguous": "yellow", "rejected": "red", "failed": "red"}

WIDTH = 100
"""Columns at most: a panel as wide as a large screen is hard to read."""


def complain(message: str) -> None:
    """One line on stderr."""
    print(f"automat: {' '.join(message.split())}", file=sys.stderr)


def _console() -> Console:
    console = Console(highlight=False)
    return Console(highlight=False, width=min(console.width, WIDTH))


class Watch:
    """A progress bar over files, or over the items of one long job."""

    def __init__(self, progress: Progress, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task("starting", total=total)

    def say(self, text: str) -> None:
        """Describe what is going on."""
        self._progress.update(self._task, description=text)

    def stage(self, name: str, stage: str) -> None:
        """Say which stage of a file's run has begun."""
        self.say(f"{name}: {stage}")

    def advance(self) -> None:
        """Count one file as done."""
        self._progress.advance(self._task)

    def count(self, text: str, done: int, total: int | None) -> None:
        """Describe and count at once."""
        self._progress.update(self._task, description=text, completed=done, total=total)


@contextmanager
def watching(total: int | None = None) -> Iterator[Watch]:
    """Show a progress bar on a terminal; nothing elsewhere."""
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Watch(progress, total)


def show_outcome(path: Path, outcome: Outcome) -> None:
    """Print the answer for one file: a panel, or one line on stderr if it failed."""
    result = outcome.result
    if result.error:
        message = result.error.message
        named = path.name in message
        complain(message if named else f"{path}: {message}")
        return
    lines: list[Any] = [_facts(result)]
    lines += [Text(f"Note: {note}", style="yellow") for note in _notes(result)]
    if outcome.folder:
        report = outcome.folder / "report.html"
        lines.append(Text.assemble(("Report       ", "dim"), str(report if report.is_file() else outcome.folder)))
    colour = COLOURS[str(result.status)]
    title = Text.assemble((path.name, "bold"), "  ", (str(result.status), f"bold {colour}"))
    _console().print(Panel(Group(*lines), title=title, title_align="left", border_style=colour))


def _facts(result: Result) -> Table:
    from reporting import words

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    if result.status != "accepted":  # then the rows below say it all
        grid.add_row("Answer", Text(words.verdict_sentence(result)))
    found, energy = result.structure, result.energy
    if found:
        grid.add_row("Formula", Text(words.formula(found.formula), style="bold"))
        grid.add_row("Layer group", f"{found.layer_group_symbol} (no. {found.layer_group})")
        grid.add_row(
            "a, b", f"{words.measured(found.a, found.a_error, 'Å')},  {words.measured(found.b, found.b_error, 'Å')}"
        )
        grid.add_row("γ", words.measured(found.gamma, found.gamma_error, "°"))
    grid.add_row("Confidence", words.percent(result.confidence))
    if result.defects and result.defects.found:
        grid.add_row("Defects", words.defects(result.defects))
    if energy:
        values = [f"{energy.energy_per_atom:.3f} eV/atom" if energy.energy_per_atom is not None else "unknown"]
        if energy.formation_energy_per_atom is not None:
            values.append(f"formation {energy.formation_energy_per_atom:+.3f} eV/atom")
        state = "relaxed" if energy.converged else "not converged"
        grid.add_row("Energy", f"{', '.join(values)}  ({energy.potential}, {state})")
    return grid


def _notes(result: Result) -> list[str]:
    notes = [*result.image.notices, *([result.calibration.warning] if result.calibration.warning else [])]
    return list(dict.fromkeys([*notes, *result.warnings]))


def show_inspection(found: Inspection) -> None:
    """Print the signals of a file."""
    optics = [
        f"{found.beam_energy / 1e3:g} kV" if found.beam_energy else "",
        f"{found.convergence_angle:g} mrad" if found.convergence_angle else "",
    ]
    console = _console()
    console.print(Text.assemble((found.path, "bold"), "  ", ", ".join([found.format, *filter(None, optics)])))
    for signal in found.signals:
        facts = {
            "pixel size": _pair(signal.pixel_size, ".4g", "Å") or "none: give --pixel-size",
            "field of view": _pair(signal.field_of_view, ".2f", "nm"),
            "range": "" if signal.range is None else f"{signal.range[0]:.4g} to {signal.range[1]:.4g}",
            "modality": str(signal.modality),
        }
        shape = " × ".join(map(str, signal.shape))
        console.print(Text.assemble(f"  {signal.index}  ", (signal.name, "bold"), f"  {shape} {signal.dtype}"))
        console.print(Text("     " + ", ".join(f"{name} {value}" for name, value in facts.items() if value)))
        for remark in ([signal.problem] if signal.problem else []) + list(signal.notes):
            console.print(Text(f"     {remark}", style="yellow"))


def show_library(library: Library) -> None:
    """Print what a library holds, where it came from and how it is stored."""
    grid = Table.grid(padding=(0, 2))
    grid.add_row("templates", str(len(library)))
    grid.add_row("digest", library.digest)
    for part in library.manifest.get("libraries", [library.manifest]):
        for name in ("command", "sources", "refusals", "merged"):
            if name in part:
                grid.add_row(name, Text(str(part[name])))
        for addition in part.get("additions", []):
            grid.add_row("addition", Text(_addition(addition)))
        for modality, index in part["indices"].items():
            grid.add_row("index", f"{modality}: the first {index['covers']} templates")
    _console().print(grid)


def show_addition(addition: dict[str, Any]) -> None:
    """Print what joined a library."""
    _console().print(_addition(addition), markup=False)


def _addition(addition: dict[str, Any]) -> str:
    read = ", ".join(f"{name} ({count})" for name, count in addition["sources"].items()) or "nothing"
    refused = ", ".join(f"{reason} ({count})" for reason, count in addition["refusals"].items())
    text = f"{addition['added']} added, {addition['merged']} there already, of {read}"
    return text + (f"; refused: {refused}" if refused else "")


def show_templates(rows: list[dict[str, Any]], total: int) -> None:
    """Print templates as a table; those found by an image with their probabilities."""
    if not rows:
        _console().print("no template matches")
        return
    table = Table()
    likely = "probability" in rows[0]
    headings = ["id", "formula", "a (Å)", "b (Å)", "γ (°)", "atoms", "prototype", "source"]
    for heading in ["p", *headings] if likely else headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        numbers = [f"{row['a']:.3f}", f"{row['b']:.3f}", f"{row['gamma']:.1f}", str(row["natoms"])]
        first = [f"{row['probability']:.2f}"] if likely else []
        table.add_row(*first, row["id"], row["formula"], *numbers, row["prototype"], row["source"])
    _console().print(table)
    if total > len(rows):
        _console().print(f"{len(rows)} of {total} templates shown; --limit shows more", style="dim")


def _pair(values: tuple[float, float] | None, form: str, unit: str) -> str:
    """Show (y, x) as one number where both are the same."""
    if values is None:
        return ""
    y, x = (format(value, form) for value in values)
    return f"{y} {unit}" if y == x else f"{y} × {x} {unit}"
