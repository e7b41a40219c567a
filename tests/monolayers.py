"""Well-known monolayers by hand: cell, fractional (u, v), height in Å, and their layer group."""

import numpy as np
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from microscopy.slab import slab

THIRD = 1 / 3


def layer(a, b, gamma, sites):
    """A slab from (element, u, v, z in Å)."""
    angle = np.radians(gamma)
    matrix = np.array([[a, 0, 0], [b * np.cos(angle), b * np.sin(angle), 0], [0, 0, 25.0]])
    frac = [(u, v, 0.5 + z / 25.0) for _, u, v, z in sites]
    return slab(Structure(Lattice(matrix), [site[0] for site in sites], frac))


MONOLAYERS = {
    "graphene": (layer(2.46, 2.46, 120, [("C", THIRD, 2 * THIRD, 0), ("C", 2 * THIRD, THIRD, 0)]), 80),
    "h-BN": (layer(2.51, 2.51, 120, [("B", THIRD, 2 * THIRD, 0), ("N", 2 * THIRD, THIRD, 0)]), 78),
    "MoS2 1H": (
        layer(
            3.18,
            3.18,
            120,
            [("Mo", THIRD, 2 * THIRD, 0), ("S", 2 * THIRD, THIRD, 1.56), ("S", 2 * THIRD, THIRD, -1.56)],
        ),
        78,
    ),
    "MoS2 1T": (
        layer(3.19, 3.19, 120, [("Mo", 0, 0, 0), ("S", THIRD, 2 * THIRD, 1.57), ("S", 2 * THIRD, THIRD, -1.57)]),
        72,
    ),
    "MoSSe": (
        layer(
            3.25,
            3.25,
            120,
            [("Mo", THIRD, 2 * THIRD, 0), ("S", 2 * THIRD, THIRD, 1.53), ("Se", 2 * THIRD, THIRD, -1.70)],
        ),
        69,
    ),
    "silicene": (layer(3.87, 3.87, 120, [("Si", THIRD, 2 * THIRD, 0.22), ("Si", 2 * THIRD, THIRD, -0.22)]), 72),
    "FeSe": (
        layer(3.77, 3.77, 90, [("Fe", 0, 0, 0), ("Fe", 0.5, 0.5, 0), ("Se", 0, 0.5, 1.46), ("Se", 0.5, 0, -1.46)]),
        64,
    ),
    "phosphorene": (
        layer(
            3.30,
            4.62,
            90,
            [("P", 0, 0.09, 1.06), ("P", 0, -0.09, -1.06), ("P", 0.5, 0.59, -1.06), ("P", 0.5, 0.41, 1.06)],
        ),
        42,
    ),
    "SnS": (
        layer(
            4.08,
            4.29,
            90,
            [("Sn", 0, 0.12, 1.42), ("S", 0, 0.5, 1.28), ("Sn", 0.5, 0.62, -1.42), ("S", 0.5, 0.0, -1.28)],
        ),
        32,
    ),
    "CrI3": (
        layer(
            6.87,
            6.87,
            120,
            [
                ("Cr", THIRD, 2 * THIRD, 0),
                ("Cr", 2 * THIRD, THIRD, 0),
                ("I", 0.35, 0.0, 1.57),
                ("I", 0.0, 0.35, 1.57),
                ("I", -0.35, -0.35, 1.57),
                ("I", -0.35, 0.0, -1.57),
                ("I", 0.0, -0.35, -1.57),
                ("I", 0.35, 0.35, -1.57),
            ],
        ),
        71,
    ),
}
