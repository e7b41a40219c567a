"""What a person sees of an examination: a line for each finding, and below it what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.doctor.finding import Finding, State
from flows.terminal import WIDTH

COLOURS = {State.OK: "green", State.WARNING: "yellow", State.BROKEN: "bold red", State.SKIPPED: "dim"}

NAME_WIDTH = max(len(name) for name in ("heartbeat automation", "language model"))


def screen() -> Console:
    """Standard output, no wider than is easy to read."""
    return Console(highlight=False, width=min(Console().width, WIDTH))


def show_section(console: Console, name: str, findings: Iterable[Finding]) -> None:
    """Print the findings of a section."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, width=max(len(state) for state in State))
    grid.add_column(overflow="fold", width=NAME_WIDTH)
    grid.add_column(overflow="fold")
    for each in findings:
        colour = COLOURS[each.state]
        text = Text(each.text, style="dim" if each.state is State.SKIPPED else "")
        if each.remedy:
            text.append(f"\n→ {each.remedy}", style="cyan")
        grid.add_row(Text(each.state, style=colour), each.name, text)
    console.print(Text(name, style="bold"))
    console.print(grid)
    console.print()


def show_summary(console: Console, findings: Iterable[Finding]) -> None:
    """Print how many of them need attention."""
    counts = Counter(each.state for each in findings)
    broken, warnings = counts[State.BROKEN], counts[State.WARNING]
    if broken:
        rest = f", and {_number(warnings, 'warning')}" if warnings else ""
        console.print(Text(f"{_number(broken, 'fault')} to put right{rest}.", style=COLOURS[State.BROKEN]))
    elif warnings:
        console.print(Text(f"Nothing is broken; {_number(warnings, 'warning')}.", style=COLOURS[State.WARNING]))
    else:
        console.print(Text("All that was looked at is well.", style=COLOURS[State.OK]))


def _number(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"
