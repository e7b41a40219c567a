"""What the planner is worth: answers with it, where the first attempt alone fails."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.rows import Row, grouped
from benchmarks.tables import Table, rate

FIRST = "none"
"""Planner of the variant that keeps the first attempt."""


def recovered(rows: Sequence[Row]) -> Table:
    """One row for each kind of image and regime, and planner; the last row for each planner is of all in I and II."""
    cells = []
    for (condition, regime), group in grouped(rows, lambda row: (row.case.condition, row.regime)).items():
        cells += _lines(condition, regime, group)
    cells += _lines("all", "I and II", [row for row in rows if row.regime in ("I", "II")])
    return Table(
        "The planner",
        ("image", "regime", "planner", "images", "right", "recovered of those that fail at first", "accepted, right"),
        tuple(cells),
        "Recovered: of the images whose first attempt is wrong, those whose answer is right. Lengths are not judged "
        "where the artefact changes them.",
    )


def _lines(condition: str, regime: str, rows: Sequence[Row]) -> list[tuple[str, ...]]:
    key = {row.case.key + row.regime: row.success for row in rows if _planner(row) == FIRST}
    lines = []
    for planner, group in grouped(rows, _planner).items():
        failed = [row for row in group if not key.get(row.case.key + row.regime, False)]
        accepted = [row for row in group if row.accepted]
        lines.append(
            (
                condition,
                regime,
                planner,
                str(len(group)),
                rate([row.success for row in group]),
                "–" if planner == FIRST else f"{sum(row.success for row in failed)} of {len(failed)}",
                f"{len(accepted)}, {sum(row.success for row in accepted)}",
            )
        )
    return lines


def _planner(row: Row) -> str:
    return row.variant.removeprefix("planner ")
