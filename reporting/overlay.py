"""The crystal drawn onto the micrograph it was found in.

Frame: x = column, y = row (down), Å; position (0, 0) is the centre of pixel (0, 0).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from ase.data.colors import jmol_colors
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image
from pymatgen.core import Structure

from reconstruction.records import PointDefect
from reporting.defect_marks import draw_marks, legend_marks
from reporting.thumbnail import grey, png

MAX_BYTES = 1_500_000
"""Largest overlay; beyond it the picture is reduced to 256 colours."""

DPI = 150
PANEL_INCHES = 5.0

ZOOM_CELLS = 4.0
"""Cells along the sides of the close view: atoms large enough to tell elements apart by colour."""

MIN_ZOOM, MAX_ZOOM = 12.0, 40.0
"""Å along the sides of the close view at least and at most."""

ATOM_RADIUS = 0.26
"""Drawn radius over covalent radius: the rim of each bright column stays visible around its atom."""

EDGE = 1.0
"""Å beyond a view in which atoms are still drawn, so that those cut by its border show."""

FIELD_MARK, CLOSE_MARK = 7.0, 24.0
"""Points across the mark of a defect: in the close view it goes around the atom, in the whole field it is found."""

CELL_COLOUR = "#ffd23f"


@dataclass(frozen=True, eq=False)
class Registration:
    """A structure as it lies in an image: rows a, b as (x, y) and the cell's origin, both in Å."""

    structure: Structure
    cell: Float[np.ndarray, "2 2"]
    shift: Float[np.ndarray, " 2"]


@dataclass(frozen=True)
class Extent:
    """A rectangle of the image, Å."""

    left: float
    top: float
    right: float
    bottom: float


def positions(registration: Registration, extent: Extent) -> tuple[Float[np.ndarray, "N 2"], np.ndarray]:
    """Atoms inside a rectangle.

    Returns
    -------
    positions
        (x, y) in Å, shape (N, 2), the atoms farthest from the viewer (largest z) first.
    sites
        Index of each into the structure, shape (N,).
    """
    structure = registration.structure
    order = np.argsort(-structure.frac_coords[:, 2], kind="stable")
    cells = _cells(registration, extent)
    fractional = structure.frac_coords[order, None, :2] + cells[None]
    xy = (fractional @ registration.cell + registration.shift).reshape(-1, 2)
    sites = np.repeat(order, len(cells))
    inside = (
        (xy[:, 0] >= extent.left) & (xy[:, 0] <= extent.right) & (xy[:, 1] >= extent.top) & (xy[:, 1] <= extent.bottom)
    )
    return xy[inside], sites[inside]


def colour(symbol: str) -> tuple[float, float, float]:
    """Jmol colour of an element."""
    red, green, blue = jmol_colors[atomic_numbers[symbol]]
    return float(red), float(green), float(blue)


def overlay_png(
    image: Float[np.ndarray, "H W"],
    pixel_size: tuple[float, float],
    registration: Registration,
    *,
    close_view: Float[np.ndarray, "H W"] | None = None,
    names: tuple[str, str] = ("as recorded", "denoised"),
    estimated: bool = False,
    defects: Sequence[PointDefect] = (),
) -> bytes:
    """Draw the whole field with the lattice, and a close view with cell and atoms.

    Parameters
    ----------
    image
        Shown as the whole field, shape (H, W).
    pixel_size
        (y, x) in Å.
    registration
        The crystal and where it lies.
    close_view
        Image under the atoms, same frame; ``image`` when None.
    names
        What the two images are, for their titles.
    estimated
        Whether the pixel size, and so the scale bar, is an estimate.
    defects
        Marked in both views.

    Returns
    -------
    bytes
        PNG of at most ``MAX_BYTES``.
    """
    field = _extent(image.shape, pixel_size)
    zoom = _zoom(field, registration)
    height_over_width = (field.bottom - field.top) / (field.right - field.left)
    first = PANEL_INCHES * min(1.0, 1.0 / height_over_width)
    tall = first * height_over_width
    second = tall * (zoom.right - zoom.left) / (zoom.bottom - zoom.top)
    gap, head, foot = 0.15, 0.34, 0.45
    figure = Figure(figsize=(first + second + 3 * gap, tall + head + foot), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    width, height = figure.get_size_inches()

    left = figure.add_axes((gap / width, foot / height, first / width, tall / height))
    right = figure.add_axes(((first + 2 * gap) / width, foot / height, second / width, tall / height))
    _show(left, image, pixel_size, field, f"Whole field, {names[0]}", estimated)
    _show(
        right,
        image if close_view is None else close_view,
        pixel_size,
        zoom,
        f"Close view, {names[0] if close_view is None else names[1]}",
        estimated,
    )
    lattice = _outlines(registration, field)
    left.add_collection(LineCollection(list(lattice), colors=CELL_COLOUR, linewidths=0.8, alpha=0.6))
    left.add_patch(
        Rectangle((zoom.left, zoom.top), zoom.right - zoom.left, zoom.bottom - zoom.top, fill=False, ec="white", lw=1.4)
    )
    _draw_atoms(right, registration, zoom)
    _draw_cell(right, registration, zoom)
    draw_marks(left, defects, FIELD_MARK)
    draw_marks(right, defects, CLOSE_MARK)
    _legend(figure, registration.structure, defects, foot / height)

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    data = buffer.getvalue()
    if len(data) > MAX_BYTES:
        picture = Image.open(io.BytesIO(data)).convert("RGB")
        data = png(picture.quantize(256, dither=Image.Dither.NONE))
    return data


def _extent(shape: tuple[int, ...], pixel_size: tuple[float, float]) -> Extent:
    """Rectangle covered by an image: half a pixel beyond the centres of its outer pixels."""
    (height, width), (dy, dx) = shape, pixel_size
    return Extent(-dx / 2, -dy / 2, (width - 0.5) * dx, (height - 0.5) * dy)


def _zoom(field: Extent, registration: Registration) -> Extent:
    """Rectangle in the middle of the field, shaped like it where possible, a few cells large."""
    longest = float(np.linalg.norm(registration.cell, axis=1).max())
    side = float(np.clip(ZOOM_CELLS * longest, MIN_ZOOM, max(MAX_ZOOM, 1.6 * longest)))
    width, height = min(side, field.right - field.left), min(side, field.bottom - field.top)
    x, y = (field.left + field.right) / 2, (field.top + field.bottom) / 2
    return Extent(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _cells(registration: Registration, extent: Extent) -> Float[np.ndarray, "N 2"]:
    """Index all cells that may touch a rectangle."""
    corners = np.array([[x, y] for x in (extent.left, extent.right) for y in (extent.top, extent.bottom)])
    fractional = (corners - registration.shift) @ np.linalg.inv(registration.cell)
    low, high = np.floor(fractional.min(axis=0)).astype(int) - 1, np.ceil(fractional.max(axis=0)).astype(int) + 1
    u, v = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1), indexing="ij")
    return np.column_stack([u.ravel(), v.ravel()]).astype(float)


def _outlines(registration: Registration, extent: Extent) -> Float[np.ndarray, "N 2 2"]:
    """Lattice lines across a rectangle."""
    cells = _cells(registration, extent)
    (u0, v0), (u1, v1) = cells.min(axis=0), cells.max(axis=0)
    along_v = [[(u, v0), (u, v1)] for u in np.arange(u0, u1 + 1)]
    along_u = [[(u0, v), (u1, v)] for v in np.arange(v0, v1 + 1)]
    return np.asarray(np.array(along_v + along_u) @ registration.cell + registration.shift)


def _show(
    axes: Axes, image: np.ndarray, pixel_size: tuple[float, float], view: Extent, title: str, estimated: bool
) -> None:
    whole = _extent(image.shape, pixel_size)
    axes.imshow(
        grey(image),
        cmap="gray",
        vmin=0,
        vmax=255,
        extent=(whole.left, whole.right, whole.bottom, whole.top),
        interpolation="antialiased",
        aspect="equal",
    )
    axes.set_xlim(view.left, view.right)
    axes.set_ylim(view.bottom, view.top)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(title, fontsize=9, loc="left", pad=5)
    _scale_bar(axes, view, estimated)


def _scale_bar(axes: Axes, view: Extent, estimated: bool) -> None:
    """Draw a bar of round length, about a quarter of the width, on its own dark ground."""
    width, height = view.right - view.left, view.bottom - view.top
    decade = 10.0 ** np.floor(np.log10(width / 4))
    length = float(max(step * decade for step in (1, 2, 5) if step * decade <= width / 4))
    label = f"{length / 10:g} nm" if length >= 10 else f"{length:g} Å"
    margin, pad = 0.035 * width, 0.015 * width
    x, y = view.left + margin, view.bottom - margin
    thick = 0.012 * height
    ground = Rectangle(
        (x - pad, y - thick - 0.075 * height),
        length + 2 * pad,
        thick + 0.075 * height + pad,
        fc="black",
        alpha=0.6,
        lw=0,
        zorder=8,
    )
    axes.add_patch(ground)
    axes.add_patch(Rectangle((x, y - thick), length, thick, fc="white", lw=0, zorder=9))
    text = axes.text(
        x + length / 2,
        y - thick - 0.01 * height,
        label + (" (est.)" if estimated else ""),
        color="white",
        ha="center",
        va="bottom",
        fontsize=8,
        zorder=9,
    )
    text.set_clip_on(True)


def _draw_atoms(axes: Axes, registration: Registration, view: Extent) -> None:
    wider = Extent(view.left - EDGE, view.top - EDGE, view.right + EDGE, view.bottom + EDGE)
    xy, sites = positions(registration, wider)
    symbols = [site.specie.symbol for site in registration.structure]
    turn = np.linspace(0, 2 * np.pi, 25)[:-1]
    circle = np.column_stack([np.cos(turn), np.sin(turn)])
    radii = np.array([ATOM_RADIUS * covalent_radii[atomic_numbers[symbol]] for symbol in symbols])
    # Two rims, dark and light, so that white, black and grey elements all stand out from any ground.
    for rim, line in (("black", 2.0), ("white", 0.8)):
        axes.add_collection(
            PolyCollection(
                [centre + radii[site] * circle for centre, site in zip(xy, sites, strict=True)],
                facecolors=[(*colour(symbols[site]), 0.85) for site in sites],
                edgecolors=rim,
                linewidths=line,
                zorder=5,
            )
        )


def _draw_cell(axes: Axes, registration: Registration, view: Extent) -> None:
    """Outline the cell nearest the middle of the view."""
    middle = np.array([(view.left + view.right) / 2, (view.top + view.bottom) / 2])
    centre = np.rint((middle - registration.shift) @ np.linalg.inv(registration.cell) - 0.5)
    corners = (centre + np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]])) @ registration.cell + registration.shift
    for line, width in (("black", 3.4), (CELL_COLOUR, 1.8)):
        axes.add_line(Line2D(corners[:, 0], corners[:, 1], color=line, lw=width, zorder=6, solid_joinstyle="round"))
    for name, tip in (("a", corners[1]), ("b", corners[3])):
        label = corners[0] + 0.5 * (tip - corners[0])
        axes.text(
            float(label[0]),
            float(label[1]),
            name,
            color="black",
            fontsize=9,
            style="italic",
            ha="center",
            va="center",
            zorder=7,
            clip_on=True,
            bbox={"boxstyle": "circle,pad=0.15", "fc": CELL_COLOUR, "ec": "none"},
        )


def _legend(figure: Figure, structure: Structure, defects: Sequence[PointDefect], height: float) -> None:
    symbols = list(dict.fromkeys(site.specie.symbol for site in structure))
    handles = [
        Line2D([], [], marker="o", ls="", mfc=colour(symbol), mec="black", mew=0.8, ms=8, label=symbol)
        for symbol in symbols
    ]
    handles.append(Line2D([], [], color="#c79a00", lw=1.8, label="unit cell"))
    handles += legend_marks(defects)
    figure.legend(
        handles=handles,
        loc="center",
        bbox_to_anchor=(0.0, 0.0, 1.0, height),
        ncols=len(handles),
        frameon=False,
        fontsize=9,
        handletextpad=0.3,
        columnspacing=1.4,
    )
