"""Marks of point defects: shapes and colours that differ, so that neither alone has to be seen."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import Stroke, withStroke

from reconstruction.records import PointDefect

MARKS = {"vacancy": ("o", "#3fd7ff"), "substitution": ("D", "#ff5fd2")}
"""Shape and colour by kind of defect; no element of a monolayer is drawn in either."""


def draw_marks(axes: Axes, defects: Sequence[PointDefect], size: float) -> None:
    """Draw hollow marks ``size`` points wide where defects are, (x, y) in Å; those out of view are clipped."""
    for kind in kinds(defects):
        shape, colour = MARKS[kind]
        x, y = zip(*(each.position for each in defects if each.kind == kind), strict=True)
        effects: list[Stroke] = [withStroke(linewidth=3.0, foreground="black")]
        axes.plot(
            x,
            y,
            shape,
            ms=size,
            mfc="none",
            mec=colour,
            mew=1.6,
            zorder=7,
            path_effects=effects,
            scalex=False,
            scaley=False,
        )


def legend_marks(defects: Sequence[PointDefect]) -> list[Line2D]:
    """Entries of the legend for the kinds that occur."""
    return [
        Line2D([], [], marker=MARKS[kind][0], ls="", mfc="none", mec=MARKS[kind][1], mew=1.8, ms=8, label=kind)
        for kind in kinds(defects)
    ]


def kinds(defects: Sequence[PointDefect]) -> list[str]:
    """Kinds that occur, in the order of ``MARKS``."""
    return [kind for kind in MARKS if any(each.kind == kind for each in defects)]
