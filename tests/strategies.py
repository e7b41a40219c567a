"""Hypothesis strategies: plane lattices and slabs as a monolayer may have them."""

import numpy as np
from hypothesis import strategies as st
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from microscopy.slab import slab

ELEMENTS = ("B", "C", "N", "O", "S", "Cl", "Fe", "Se", "Mo", "W")


def floats(low, high):
    return st.floats(low, high, allow_nan=False, allow_infinity=False)


@st.composite
def plane_cells(draw, shortest=2.5, longest=6.0):
    """Rows a, b in Å, a along +x, angle 60° to 120°."""
    a, b = draw(floats(shortest, longest)), draw(floats(shortest, longest))
    gamma = np.radians(draw(floats(60.0, 120.0)))
    return np.array([[a, 0.0], [b * np.cos(gamma), b * np.sin(gamma)]])


@st.composite
def unimodular(draw):
    """Integer 2x2 matrices of determinant ±1 with small entries."""
    lower = np.array([[1, 0], [draw(st.integers(-2, 2)), 1]])
    upper = np.array([[1, draw(st.integers(-2, 2))], [0, 1]])
    return np.diag([1, draw(st.sampled_from((1, -1)))]) @ lower @ upper


@st.composite
def slabs(draw, max_sites=5, min_distance=1.0, elements=ELEMENTS):
    """Slabs of 1 to ``max_sites`` sites of one to three elements, no two nearer in projection than ``min_distance``."""
    cell = draw(plane_cells())
    count = draw(st.integers(1, max_sites))
    # Positions from a seed: random enough for any lattice, and no rejection loop inside Hypothesis.
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = draw(st.lists(st.sampled_from(elements), min_size=1, max_size=3, unique=True))
    neighbours = np.array([(i, j) for i in (-2, -1, 0, 1, 2) for j in (-2, -1, 0, 1, 2)])
    sites = []
    for _ in range(200):
        point = rng.random(2)
        deltas = [((point - other + neighbours) @ cell) for other in sites]
        if all(np.linalg.norm(delta, axis=1).min() >= min_distance for delta in deltas):
            sites.append(point)
        if len(sites) == count:
            break
    matrix = np.zeros((3, 3))
    matrix[:2, :2] = cell
    matrix[2, 2] = 24.0
    frac = np.column_stack([np.array(sites), rng.uniform(0.45, 0.55, len(sites))])
    species = [kinds[i % len(kinds)] for i in range(len(sites))]
    return slab(Structure(Lattice(matrix), species, frac))


@st.composite
def views(draw):
    """How else a slab may be described: unimodular cell, rotation (rad), mirror, origin (Å), seed of the order."""
    return {
        "rows": draw(unimodular()),
        "angle": draw(floats(0.0, 2 * np.pi)),
        "mirror": draw(st.booleans()),
        "origin": np.array([draw(floats(-5.0, 5.0)), draw(floats(-5.0, 5.0))]),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


def described(structure, view):
    """The same crystal, described differently (see ``views``); mirrored, it is the crystal's other hand."""
    rows = np.eye(3, dtype=int)
    rows[:2, :2] = view["rows"]
    turned = structure.copy()
    turned.make_supercell(rows, to_unit_cell=False)
    cos, sin = np.cos(view["angle"]), np.sin(view["angle"])
    rotation = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1.0]])
    if view["mirror"]:
        rotation = np.diag([1.0, -1.0, 1.0]) @ rotation
    coords = (turned.cart_coords + np.array((*view["origin"], 0.0))) @ rotation
    order = np.random.default_rng(view["seed"]).permutation(len(turned))
    species = [turned.species[i] for i in order]
    return Structure(turned.lattice.matrix @ rotation, species, coords[order], coords_are_cartesian=True)


def supercell(structure, rows):
    """Supercell with integer 2x2 rows in the plane."""
    full = np.eye(3, dtype=int)
    full[:2, :2] = rows
    big = structure.copy()
    big.make_supercell(full, to_unit_cell=False)
    return big


def displaced(structure, sigma, seed):
    """Sites moved in the plane by normal noise of ``sigma`` Å per component."""
    coords = structure.cart_coords.copy()
    coords[:, :2] += np.random.default_rng(seed).normal(0.0, sigma, (len(structure), 2))
    return Structure(structure.lattice, structure.species, coords, coords_are_cartesian=True)


@st.composite
def corrupted(draw, content):
    """The bytes of a file after one to four accidents: cut, a part lost, doubled or overwritten."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(data)))
        end = min(len(data), begin + draw(st.integers(0, 40)))
        accident = draw(st.sampled_from(("cut", "lose", "double", "overwrite", "number")))
        if accident == "cut":
            del data[begin:]
        elif accident == "lose":
            del data[begin:end]
        elif accident == "double":
            data[end:end] = data[begin:end] * draw(st.integers(1, 3))
        elif accident == "overwrite":
            data[begin:end] = draw(st.binary(max_size=40))
        else:
            data[begin:end] = draw(st.sampled_from((b" nan ", b" inf ", b"-1", b"1e300", b"99999999999", b"0", b"()")))
    return bytes(data)


def json_values():
    """Any JSON, NaN included, with the numbers that break things."""
    numbers = st.sampled_from([0, -1, 10**30, 1e-300, 1e300]) | st.floats()
    leaves = st.none() | st.booleans() | numbers | st.text(max_size=5)
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner))
