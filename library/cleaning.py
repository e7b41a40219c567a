"""Any slab of a database becomes one standard monolayer, or is refused with a reason that can be counted."""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Float, Int
from pymatgen.core import DummySpecies, Lattice, Structure

from library.geometry import OVERLAP_FACTOR, bond_network, closest_contact
from microscopy.errors import LibraryError
from microscopy.slab import SlabError, slab

MAX_SITES = 400
"""Larger cells are supercells or proteins; matching and simulating them would take minutes each."""

MAX_LENGTH = 500.0
"""Å; a longer axis is a broken file."""

MIN_SPACING = 0.5
"""Å between the lattice planes that an axis joins; thinner cells are broken files, and every atom would have thousands
of neighbours."""

MAX_CELLS = 1e4
"""Cells that a site may lie away from its own; beyond, its digits are lost or were never meant."""

MIN_VOLUME = 1.0
"""Å³ of one atom; the densest crystals have 5, so that below this atoms overlap."""

MIN_VACUUM = 5.0
"""Å of empty space that count as vacuum: the gaps inside layered bulk and molecular crystals are 2.5–4 Å."""

TRANSLATION_TOLERANCES = (0.03, 0.01, 0.003)
"""Å; sites this near an image of another are its copy: above the scatter of relaxed coordinates, below any
superstructure an image could show. A smaller one is tried where the larger lets only some of a superstructure's
near-translations pass, which make no lattice."""

REDUCED_TOLERANCE = 1e-3
"""Relative; a cell this close to reduced is left as it is, so that cleaning twice changes nothing."""

SEARCH = 3
"""Lattice vectors of up to this many cells are tried when axes are chosen."""


class CleaningError(LibraryError):
    """A structure is no usable monolayer; ``reason`` is the general part of the message, for counting."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


def clean(structure: Structure) -> Structure:
    """Bring a database's slab into the standard form of this library.

    Parameters
    ----------
    structure
        Any cell with one layer and vacuum along any lattice direction, wrapped or not, primitive or not.

    Returns
    -------
    Structure
        Primitive slab in the convention of ``microscopy.slab``: a and b the two shortest vectors of the plane
        lattice, 90° ≤ gamma ≤ 120°, neutral elements. Cleaning it again changes nothing.

    Raises
    ------
    CleaningError
        If the structure is empty, disordered, malformed, bulk, several layers, molecules, or has overlapping atoms.
    """
    if len(structure) == 0:
        raise CleaningError("no atoms")
    if not structure.is_ordered:
        raise CleaningError("disordered sites", structure.composition.reduced_formula)
    if len(structure) > MAX_SITES:
        raise CleaningError("too many atoms", f"{len(structure)}, at most {MAX_SITES}")
    matrix = structure.lattice.matrix
    if not (np.isfinite(matrix).all() and np.isfinite(structure.frac_coords).all()):
        raise CleaningError("not finite")
    if (
        np.abs(matrix).max() > MAX_LENGTH
        or max(structure.lattice.abc) > MAX_LENGTH
        or structure.lattice.volume < 1.0
        or _spacing(matrix) < MIN_SPACING
    ):
        raise CleaningError("degenerate or enormous cell", structure.composition.reduced_formula)
    if structure.lattice.volume < MIN_VOLUME * len(structure):
        raise CleaningError("overlapping atoms", structure.composition.reduced_formula)
    if any(isinstance(site.specie, DummySpecies) or not hasattr(site.specie, "Z") for site in structure):
        raise CleaningError("sites without a chemical element", structure.composition.reduced_formula)
    elements = [site.specie.Z for site in structure]
    frac = structure.frac_coords
    if np.abs(frac).max() > MAX_CELLS:
        raise CleaningError("atoms far outside the cell", structure.composition.reduced_formula)
    # The search for neighbours fills all cells between the outermost sites: far ones are brought back first.
    frac = np.where(np.abs(frac) > 1, frac % 1.0, frac)
    # The vacuum axis of a database's cell may be marked aperiodic; here its period tells the vacuum's height.
    periodic = Structure(Lattice(matrix), elements, frac)
    if closest_contact(periodic) < OVERLAP_FACTOR:
        raise CleaningError("overlapping atoms", structure.composition.reduced_formula)
    try:
        layer = slab(_with_vacuum_last(periodic))
    except SlabError as error:
        raise CleaningError("not a slab", str(error)) from error
    return reduced(primitive(layer))


def _spacing(matrix: Float[np.ndarray, "3 3"]) -> float:
    """Smallest distance in Å between neighbouring lattice planes spanned by two axes."""
    return float(1 / np.linalg.norm(np.linalg.inv(matrix), axis=0).max())


def primitive(layer: Structure) -> Structure:
    """Smallest cell of a slab: pure in-plane translations become lattice vectors, equivalent sites are averaged."""
    for tolerance in TRANSLATION_TOLERANCES:
        shifts = _pure_translations(layer, tolerance)
        if len(shifts) < 2:
            return layer
        smaller = _on_translations(layer, shifts)
        if smaller is not None:
            return smaller
    return layer


def _on_translations(layer: Structure, shifts: Float[np.ndarray, "K 2"]) -> Structure | None:
    """Slab on the lattice of its fractional translations; None when they make no lattice."""
    plane = layer.lattice.matrix[:2, :2]
    cells = np.array(list(itertools.product(range(-1, 2), repeat=2)))
    vectors = (shifts[:, None, :] + cells[None]).reshape(-1, 2) @ plane
    basis = _shortest_pair(vectors, abs(float(np.linalg.det(plane))) / len(shifts))
    return None if basis is None else _in_cell(layer, basis, copies=len(shifts))


def _pure_translations(layer: Structure, tolerance: float) -> Float[np.ndarray, "K 2"]:
    """In-plane fractional translations, zero included, that bring every site onto one of its element.

    Exact, however the sites scatter: translations permute the N sites of the rarest element without fixing any, so
    N times each is a lattice vector.
    """
    numbers = np.array([site.specie.Z for site in layer])
    plane, height = layer.lattice.matrix[:2, :2], layer.lattice.c
    frac = layer.frac_coords
    values, counts = np.unique(numbers, return_counts=True)
    rarest = np.flatnonzero(numbers == values[np.argmin(counts)])
    steps = np.rint((frac[rarest] - frac[rarest[0]])[:, :2] * len(rarest)).astype(int) % len(rarest)
    same = numbers[:, None] == numbers[None, :]
    apart = frac[:, None, :] - frac[None, :, :]
    found = []
    for shift in np.unique(steps, axis=0) / len(rarest):
        across = apart[..., :2] + shift
        across -= np.rint(across)
        distance = np.hypot(np.linalg.norm(across @ plane, axis=-1), apart[..., 2] * height)
        if np.all(np.where(same, distance, np.inf).min(axis=1) < tolerance):
            found.append(shift)
    return np.array(found)


def reduced(layer: Structure) -> Structure:
    """Slab on the two shortest vectors of its plane lattice, right-handed, gamma between 90° and 120°."""
    plane = layer.lattice.matrix[:2, :2]
    steps = np.array(list(itertools.product(range(-SEARCH, SEARCH + 1), repeat=2)))
    basis = _shortest_pair(steps @ plane, abs(float(np.linalg.det(plane))))
    if basis is None:
        return layer
    lengths, old = np.sort(np.linalg.norm(basis, axis=1)), np.linalg.norm(plane, axis=1)
    tidy = bool(plane[0] @ plane[1] <= REDUCED_TOLERANCE * old[0] * old[1])
    if tidy and np.allclose(np.sort(old), lengths, rtol=REDUCED_TOLERANCE):
        return layer
    a, b = basis
    if np.linalg.det(basis) < 0:
        b = -b
    if a @ b > 0:
        # The obtuse right-handed pair of the same two vectors.
        a, b = b, -a
    return _in_cell(layer, np.array([a, b]), copies=1) or layer


def _with_vacuum_last(structure: Structure) -> Structure:
    """Put the same crystal on axes of which the first two span the layer and the third crosses the vacuum."""
    formula = structure.composition.reduced_formula
    matrix = structure.lattice.matrix
    axes = _axes(matrix, _layer_normal(structure))
    if axes is None:
        raise CleaningError("cell too skewed", formula)
    turned = Structure(Lattice(axes @ matrix), structure.species, structure.frac_coords @ _inverse(axes))
    gaps = _gaps(turned, 2)
    if gaps[0] < MIN_VACUUM:
        raise CleaningError("no vacuum: a layered bulk crystal", f"{formula}, largest gap {gaps[0]:.1f} Å")
    if len(gaps) > 1 and gaps[1] >= MIN_VACUUM:
        raise CleaningError("several layers", f"{formula}, {gaps[1]:.1f} Å apart")
    return turned


def _layer_normal(structure: Structure) -> Int[np.ndarray, " 3"]:
    """Integer covector that vanishes on the lattice vectors of the layer's plane.

    Bonds decide; a layer held together by weaker contacts (molecular crystals, long bonds) shows itself by having
    vacuum along one axis only.
    """
    formula = structure.composition.reduced_formula
    network = bond_network(structure)
    if max(network.ranks) == 3:
        raise CleaningError("bulk: bonded in three directions", formula)
    if 2 in network.ranks:
        periods = network.periods[network.ranks.index(2)]
        periods = periods[periods.any(axis=1)]
        normals = np.cross(periods[0], periods)
        normal = normals[normals.any(axis=1)][0]
        normal = normal // np.gcd.reduce(normal)
        # Both signs describe the plane; this one keeps an axis that is already the third.
        return normal * np.sign(normal[normal != 0][-1])
    empty = [axis for axis in range(3) if _gaps(structure, axis)[0] >= MIN_VACUUM]
    if len(empty) != 1:
        raise CleaningError("molecules or chains: no plane of bonds or close contacts", formula)
    return np.eye(3, dtype=int)[empty[0]]


def _gaps(structure: Structure, axis: int) -> Float[np.ndarray, " N"]:
    """Empty heights in Å along the normal of the other two axes, largest first."""
    first, second, third = (structure.lattice.matrix[(axis + k) % 3] for k in (1, 2, 0))
    normal = np.cross(first, second)
    height = abs(float(third @ normal)) / float(np.linalg.norm(normal))
    z = np.sort(structure.frac_coords[:, axis] % 1.0) * height
    return np.sort(np.diff(np.append(z, z[0] + height)))[::-1]


def _axes(matrix: Float[np.ndarray, "3 3"], normal: Int[np.ndarray, " 3"]) -> Int[np.ndarray, "3 3"] | None:
    """Integer rows: the two shortest lattice vectors with normal · v = 0, and the shortest with normal · v = 1."""
    steps = np.array(list(itertools.product(range(-SEARCH, SEARCH + 1), repeat=3)))
    level = steps @ normal
    in_plane, out = steps[(level == 0) & steps.any(axis=1)], steps[level == 1]
    if len(in_plane) < 2 or not len(out):
        return None
    in_plane = in_plane[np.argsort(np.round(np.linalg.norm(in_plane @ matrix, axis=1), 6), kind="stable")]
    c = out[np.argmin(np.round(np.linalg.norm(out @ matrix, axis=1), 6))]
    pairs = list(itertools.combinations(in_plane[:12], 2))
    original = [row for row in np.eye(3, dtype=int) if row @ normal == 0]
    if len(original) == 2:
        # The source's own choice of axes stays when it can.
        pairs.insert(0, (original[0], original[1]))
    for a, b in pairs:
        if round(abs(float(np.linalg.det([a, b, c])))) == 1:
            right_handed = np.linalg.det(np.array([a, b, c]) @ matrix) > 0
            return np.array([a, b, c]) if right_handed else np.array([b, a, c])
    return None


def _inverse(axes: Int[np.ndarray, "3 3"]) -> Int[np.ndarray, "3 3"]:
    return np.rint(np.linalg.inv(axes)).astype(int)


def _shortest_pair(vectors: Float[np.ndarray, "K 2"], area: float) -> Float[np.ndarray, "2 2"] | None:
    """Find the two shortest vectors that span a cell of the given area."""
    lengths = np.linalg.norm(vectors, axis=1)
    ordered = vectors[lengths > 1e-3]
    # Rounding makes the choice among equal lengths depend on order alone, not on the last bit.
    ordered = ordered[np.argsort(np.round(np.linalg.norm(ordered, axis=1), 4), kind="stable")]
    for first in ordered[:8]:
        determinants = np.abs(first[0] * ordered[:, 1] - first[1] * ordered[:, 0])
        matching = np.flatnonzero(np.abs(determinants / area - 1) < 0.02)
        if len(matching):
            return np.array([first, ordered[matching[0]]])
    return None


def _in_cell(layer: Structure, basis: Float[np.ndarray, "2 2"], copies: int) -> Structure | None:
    """Put the sites of a slab in another cell of its plane; `copies` sites fall on each new one and are averaged.

    None when fewer than `copies` do.
    """
    cart = layer.cart_coords
    frac = cart[:, :2] @ np.linalg.inv(basis)
    kept: list[int] = []
    matrix = np.zeros((3, 3))
    matrix[:2, :2], matrix[2, 2] = basis, layer.lattice.c
    positions = np.empty((0, 3))
    left = list(range(len(layer)))
    while left:
        site = left[0]
        shift = frac[left] - frac[site]
        shift -= np.rint(shift)
        apart = np.hypot(np.linalg.norm(shift @ basis, axis=1), cart[left, 2] - cart[site, 2])
        same = [k for k, other in enumerate(left) if layer[other].specie == layer[site].specie and apart[k] < 0.5]
        same = sorted(same, key=lambda k: apart[k])[:copies]
        if len(same) < copies:
            return None
        mean = np.append(frac[site] + shift[same].mean(axis=0), cart[[left[k] for k in same], 2].mean())
        positions = np.vstack([positions, mean])
        kept.append(site)
        left = [other for k, other in enumerate(left) if k not in same]
    positions[:, 2] /= layer.lattice.c
    return slab(Structure(Lattice(matrix), [layer[site].specie for site in kept], positions))
