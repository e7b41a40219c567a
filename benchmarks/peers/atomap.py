"""Atomap's documented workflow: intensity maxima, then centres of mass, then two-dimensional Gaussians.

Nord et al., Adv. Struct. Chem. Imaging 3 (2017) 9.
"""

import atomap.api as am
import hyperspy.api as hs
import numpy as np

CLOSER = 0.7
"""Atomap keeps maxima further apart than its separation along x or y; neighbours on a diagonal are 1/√2 as far."""


def answer(query):
    """Columns (x, y) in Å."""
    image, (dy, dx) = query["image"].astype(float), query["pixel_size"]
    signal = hs.signals.Signal2D(image - image.min())  # intensities weigh the centre of mass: none below zero
    found = am.get_atom_positions(signal, separation=max(CLOSER * query["separation"] / max(dy, dx), 1))
    sublattice = am.Sublattice(found, image=signal.data)
    sublattice.find_nearest_neighbors()
    sublattice.refine_atom_positions_using_center_of_mass(show_progressbar=False)
    sublattice.refine_atom_positions_using_2d_gaussian(show_progressbar=False)
    return np.column_stack([sublattice.x_position, sublattice.y_position]) * (dx, dy)
