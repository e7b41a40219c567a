"""The smaller figures of the report, each returned as a PNG with a transparent ground."""

from __future__ import annotations

import io

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Polygon
from PIL import Image
from pymatgen.core import Structure

from reconstruction.records import Reconstruction
from reporting.overlay import colour
from reporting.thumbnail import grey, png

INK = "#808080"
"""Mid-grey: legible on a light and on a dark page."""

DPI = 160
BALL_RADIUS = 0.6
"""Drawn radius over covalent radius in the views of the slab: neighbours almost touch."""

RESIDUAL_LIMIT = 5.0
"""Residuals are coloured up to this many standard errors at least, so that pure noise stays pale."""

CELL_INCHES = 3.2

MAX_IMAGE_SIDE = 640
"""Pixels along the longer side of a micrograph in the report."""


def micrograph_png(image: Float[np.ndarray, "H W"], pixel_size: tuple[float, float] | None = None) -> bytes:
    """Grey-scale picture of an image in true proportions, reduced for a page; ``pixel_size`` is (y, x)."""
    picture = Image.fromarray(grey(image))
    if pixel_size and not np.isclose(*pixel_size):
        smaller = min(pixel_size)
        height, width = (round(n * size / smaller) for n, size in zip(image.shape, pixel_size, strict=True))
        picture = picture.resize((width, height), Image.Resampling.NEAREST)
    picture.thumbnail((MAX_IMAGE_SIDE, MAX_IMAGE_SIDE), Image.Resampling.BOX)
    return png(picture)


def cell_pngs(found: Reconstruction) -> tuple[bytes, bytes, bytes]:
    """Unit-cell average, its simulation and the residual, two by two cells in true proportions.

    The first two share one grey scale; the residual is in standard errors, red where the image is brighter.
    """
    pair = np.concatenate([found.cell_average.ravel(), found.cell_model.ravel()])
    low, high = float(pair.min()), float(pair.max())
    spread = max(RESIDUAL_LIMIT, float(np.abs(found.cell_residual).max()))
    return (
        _cell_png(found, found.cell_average, "gray", low, high, ""),
        _cell_png(found, found.cell_model, "gray", low, high, ""),
        _cell_png(found, found.cell_residual, "RdBu_r", -spread, spread, "standard errors"),
    )


def projections_png(structure: Structure) -> bytes:
    """Top view and side view of a slab, drawn with its cell."""
    repeat = 3 if len(structure) <= 6 else 2
    many = structure.make_supercell([repeat, repeat, 1], in_place=False)
    xyz = many.cart_coords
    thick = float(np.ptp(xyz[:, 2])) + 3.0
    span = np.ptp(xyz[:, :2], axis=0) + 3.0
    inches = min(5.0 / span[0], 3.4 / (span[1] + thick))  # per Å
    figure = Figure(figsize=(inches * span[0], inches * (span[1] + thick) + 0.5), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0.0)
    top, side = figure.subplots(2, 1, gridspec_kw={"height_ratios": [span[1], thick]})
    symbols = [site.specie.symbol for site in many]
    _balls(top, xyz[:, [0, 1]], -xyz[:, 2], symbols)
    _balls(side, xyz[:, [0, 2]], -xyz[:, 1], symbols)
    cell = structure.lattice.matrix[:2, :2]
    top.add_patch(Polygon([(0, 0), cell[0], cell[0] + cell[1], cell[1]], fill=False, ec=INK, lw=1.4, zorder=99))
    top.invert_yaxis()  # as in the image: y down
    for axes, name in ((top, "top view, along c"), (side, "side view")):
        axes.set_aspect("equal")
        axes.axis("off")
        axes.set_title(name, fontsize=9, color=INK, loc="left", pad=2)
    return _png(figure)


def _balls(axes: Axes, xy: np.ndarray, depth: np.ndarray, symbols: list[str]) -> None:
    for index in np.argsort(depth):
        radius = BALL_RADIUS * covalent_radii[atomic_numbers[symbols[index]]]
        axes.add_patch(Circle(xy[index], radius, fc=colour(symbols[index]), ec="#404040", lw=0.8))
    axes.autoscale_view()


def _cell_png(found: Reconstruction, values: np.ndarray, colours: str, low: float, high: float, unit: str) -> bytes:
    gamma = np.deg2rad(found.gamma)
    a, b = np.array([found.a, 0.0]), found.b * np.array([np.cos(gamma), np.sin(gamma)])
    rows, columns = values.shape
    tiled = np.tile(values, (2, 2))
    # Samples sit at fractions k / n, so the edges of their patches lie half a step aside.
    u, v = np.meshgrid((np.arange(2 * columns + 1) - 0.5) / columns, (np.arange(2 * rows + 1) - 0.5) / rows)
    corners = 2 * np.array([[0, 0], a, b, a + b])
    tall = CELL_INCHES * float(np.ptp(corners[:, 1]) / np.ptp(corners[:, 0]))
    foot = 0.45  # room for the colour bar; left empty elsewhere so that the three pictures line up
    figure = Figure(figsize=(CELL_INCHES, tall + foot), dpi=DPI)
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0.0)
    axes = figure.add_axes((0.01, foot / (tall + foot), 0.98, tall / (tall + foot) * 0.99))
    mesh = axes.pcolormesh(
        u * a[0] + v * b[0], u * a[1] + v * b[1], tiled, cmap=colours, vmin=low, vmax=high, rasterized=True
    )
    outline = np.array([[0, 0], a, a + b, b])
    axes.add_patch(Polygon(outline, fill=False, ec="#e0a800", lw=1.2))
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.axis("off")
    if unit:
        bar = figure.add_axes((0.2, 0.26 / (tall + foot), 0.5, 0.07 / (tall + foot)))
        figure.colorbar(mesh, cax=bar, orientation="horizontal")
        bar.tick_params(labelsize=7, colors=INK, length=2, pad=1)
        bar.set_xticks([low, 0, high], [f"{low:.0f}", "0", f"+{high:.0f} {unit}"])
        for spine in bar.spines.values():
            spine.set_edgecolor(INK)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, transparent=True, metadata={"Software": None})
    return buffer.getvalue()
