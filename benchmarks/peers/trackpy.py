"""Trackpy's feature finder with its documented defaults: band pass, maxima, iterated centres of mass.

Crocker and Grier, J. Colloid Interface Sci. 179 (1996) 298.
"""

import numpy as np
import trackpy

SMALLEST = 3
"""Pixels across the smallest feature that has a centre of mass."""


def answer(query):
    """Columns (x, y) in Å."""
    dy, dx = query["pixel_size"]
    separation = query["separation"] / max(dy, dx)
    # The largest odd diameter whose features do not overlap.
    diameter = max(2 * int((separation - 1) // 2) + 1, SMALLEST)
    found = trackpy.locate(query["image"].astype(float), diameter, separation=diameter)
    return np.column_stack([found["x"], found["y"]]) * (dx, dy)
