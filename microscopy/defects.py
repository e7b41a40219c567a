"""Point defects: atoms that are missing or replaced, anywhere in a field of view.

A defect is not periodic, so the image of one cell does not hold it. But a monolayer scatters nearly atom by atom: what
one missing atom changes is confined to its surroundings. That change is computed once per site by multislice, as the
difference of a box with the defect and the perfect one, and is then added wherever the site is defective. Neighbours
keep their places: relaxation around a defect is neglected.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Structure
from scipy.ndimage import gaussian_filter, map_coordinates

from microscopy.errors import SimulationError
from microscopy.multislice import LAST_ELEMENT, box_of, scan_box, stored
from microscopy.optics import Optics
from microscopy.scan import View
from microscopy.slab import plane_cell

RADIUS = 4.0
"""Å around a site within which a defect is felt; a focused probe's tails beyond hold a percent or two of it."""
TAPER = 1.0
"""Å over which the change is brought to zero at the edge, so that no seam shows."""
STEP = 0.23
"""Å between probe positions: the Nyquist rate of a usual aperture (21.3 mrad at 300 kV)."""
_FORMAT = 1  # of the cached files; part of their key


@dataclass(frozen=True)
class Defect:
    """One atom that is missing (``element`` None) or replaced.

    Attributes
    ----------
    kind
        ``"vacancy"`` or ``"substitution"``.
    site
        Index in the slab.
    cell
        Lattice translation of the cell it is in.
    element
        What stands there instead.
    position
        Where it appears in the image, (x, y) in Å from the centre of the first pixel; None until it is known.
    """

    kind: str
    site: int
    cell: tuple[int, int]
    element: str | None = None
    position: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class PlacedDefect:
    """A defect with what it changes.

    Attributes
    ----------
    centre
        (x, y) in Å, slab frame.
    change
        Of each segment's fraction at offsets from the centre, shape (S, n, n), row ~ y, column ~ x of the box.
    angle
        Of the box's x axis in the slab frame, rad.
    """

    centre: Float[np.ndarray, " 2"]
    change: Float[np.ndarray, "S n n"]
    angle: float

    def add_to(self, fractions: Float[np.ndarray, "S H W"], points: Float[np.ndarray, "H W 2"]) -> None:
        """Change the fractions recorded at probe positions (x, y) in Å, slab frame, in place."""
        offsets = points - self.centre
        near = np.nonzero((np.abs(offsets) < RADIUS).all(axis=-1))
        if not len(near[0]):
            return
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        x, y = (offsets[near] @ np.array([[cos, -sin], [sin, cos]])).T
        middle = (self.change.shape[1] - 1) / 2
        index = np.stack([y / STEP + middle, x / STEP + middle])
        for segment, change in zip(fractions, self.change, strict=True):
            segment[near] += map_coordinates(change, index, order=3)


def substitute(symbol: str) -> str:
    """Element that replaces another: same group, next period; previous period where there is none to image."""
    element = Element(symbol)
    for row in (element.row + 1, element.row - 1):
        found = [e for e in Element if e.group == element.group and e.row == row and e.Z <= LAST_ELEMENT and e.Z > 1]
        if found:
            return str(min(found, key=lambda e: e.Z).symbol)
    raise SimulationError(f"no element of the group of {symbol} can replace it")


def draw_defects(
    structure: Structure,
    view: View,
    field: tuple[float, float],
    artefacts: Mapping[str, float],
    rng: np.random.Generator,
) -> tuple[Defect, ...]:
    """Draw which sites in the field of view are defective, each independently of all others.

    Parameters
    ----------
    structure, view
        The slab, and how it lies in the image.
    field
        Width and height in Å.
    artefacts
        ``vacancies`` and ``substitutions`` are the probabilities of a site; one that is drawn for both is missing.
    rng
        Source of the draw.
    """
    missing, replaced = artefacts["vacancies"], artefacts["substitutions"]
    if not missing and not replaced:
        return ()
    cell = plane_cell(structure)
    corners = view.to_slab(np.array([(x, y) for x in (0.0, field[0]) for y in (0.0, field[1])])) @ np.linalg.inv(cell)
    margin = RADIUS / abs(float(np.linalg.det(cell))) * np.linalg.norm(cell[::-1], axis=1) + 1
    low, high = np.floor(corners.min(axis=0) - margin), np.ceil(corners.max(axis=0) + margin)
    i, j = (np.arange(first, last + 1) for first, last in zip(low.astype(int), high.astype(int), strict=True))
    cells = np.stack(np.meshgrid(i, j, indexing="ij"), axis=-1)
    found = []
    for i, j in cells.reshape(-1, 2):
        for site, chance in enumerate(rng.random(len(structure))):
            appears = view.to_image((structure.frac_coords[site, :2] + (i, j)) @ cell)
            if np.any(appears < -RADIUS) or np.any(appears > np.array(field) + RADIUS):
                continue
            if chance < missing:
                found.append(Defect("vacancy", site, (int(i), int(j))))
            elif chance < missing + replaced:
                other = substitute(structure[site].specie.symbol)
                found.append(Defect("substitution", site, (int(i), int(j)), other))
    return tuple(found)


def place_defects(
    defects: Sequence[Defect],
    structure: Structure,
    optics: Optics,
    detector_rotation: float,
    thermal_sigma: float,
    cache: str | Path | None,
) -> list[PlacedDefect]:
    """Compute what each defect changes; once for each kind of site, from the cache where it is known."""
    known: dict[tuple[int, str | None], tuple[np.ndarray, float]] = {}
    cell = plane_cell(structure)
    placed = []
    for defect in defects:
        kind = (defect.site, defect.element)
        if kind not in known:
            known[kind] = _change(structure, *kind, optics, detector_rotation, thermal_sigma, cache)
        centre = (structure.frac_coords[defect.site, :2] + defect.cell) @ cell
        placed.append(PlacedDefect(centre, *known[kind]))
    return placed


def _change(
    structure: Structure,
    site: int,
    element: str | None,
    optics: Optics,
    detector_rotation: float,
    thermal_sigma: float,
    cache: str | Path | None,
) -> tuple[np.ndarray, float]:
    """Change of each segment's fraction around one site, and the angle of its box."""
    point = replace(optics, source_size=0.0)
    box = box_of(structure, point)
    numbers, positions, height = box.atoms
    kept = np.ones(len(numbers), dtype=bool)
    others = numbers.copy()
    if element is None:
        kept[site] = False  # the first repetition of the cell comes first, site by site
    else:
        others[site] = Element(element).Z
    defective = (others[kept], positions[kept], height)
    reach = int(np.ceil(RADIUS / STEP))
    axis = np.arange(-reach, reach + 1) * STEP
    offsets = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    points = (positions[site, :2] + offsets) % box.extent

    def compute() -> np.ndarray:
        perfect = scan_box(box, box.atoms, point, points, detector_rotation)
        return scan_box(box, defective, point, points, detector_rotation) - perfect

    content = {
        "format": _FORMAT,
        "lattice": np.round(structure.lattice.matrix, 6).tolist(),
        "sites": [(each.species_string, *np.round(each.coords, 6).tolist()) for each in structure],
        "defect": [site, element, RADIUS, STEP],
        "optics": asdict(point),
        "detector_rotation": detector_rotation,
    }
    name = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    change = compute() if cache is None else stored(Path(cache) / f"defect-{name}.npz", compute)
    change = change.reshape(-1, len(axis), len(axis))
    blur = float(np.hypot(optics.source_size, thermal_sigma))
    if blur:
        change = np.stack([gaussian_filter(segment, blur / STEP) for segment in change])
    radius = np.hypot(*np.meshgrid(axis, axis))
    taper = np.clip((RADIUS - radius) / TAPER, 0.0, 1.0)
    return change * (0.5 - 0.5 * np.cos(np.pi * taper)), box.angle
