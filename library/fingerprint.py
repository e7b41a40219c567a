r"""The physical fingerprint: what an image says about a crystal regardless of how it lies in the image.

The image of a periodic slab has coefficients :math:`c_G` at its reciprocal nodes. Summing
:math:`|c_G|^2` over all nodes with the same :math:`q = |G|` gives a two-dimensional powder pattern

.. math:: P(q) = \sum_G |c_G|^2\, \kappa(q - |G|), \qquad v = \sqrt P / \lVert \sqrt P \rVert ,

with κ a triangular kernel one bin wide. v does not change with origin, rotation, mirror, choice of cell or
centring: a supercell adds nodes of zero weight. Templates use the linear model of image formation; images
use measured coefficients with the noise power subtracted. Two fingerprints are compared by their dot product.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Int
from pymatgen.core import Structure

from microscopy.linear import structure_factors
from microscopy.micrograph import Modality
from microscopy.optics import Optics
from microscopy.slab import plane_cell

FINGERPRINT_VERSION = 1
"""Raised whenever the numbers change: an index made with another version is refused."""

FINGERPRINT_SIZE = 190
Q_MIN, Q_MAX = 0.1, 1.9
"""1/Å. Below, iDPC noise rules and no monolayer has a node; above, the transfer function has died."""

REFERENCE_OPTICS = {modality: Optics(modality) for modality in Modality}
"""Templates are fingerprinted for these optics; images are converted to them before they are compared."""


def fingerprints(structures: Sequence[Structure], modality: Modality) -> Float32[np.ndarray, "N D"]:
    """Fingerprints of slabs under the reference optics of a modality, one row each, unit length."""
    return np.stack([fingerprint(structure, REFERENCE_OPTICS[modality]) for structure in structures]).astype(np.float32)


def fingerprint(structure: Structure, optics: Optics) -> Float32[np.ndarray, " D"]:
    """Fingerprint of one slab."""
    cell = plane_cell(structure)
    indices = nodes(cell)
    q = np.linalg.norm(indices @ np.linalg.inv(cell).T, axis=1)
    return powder_pattern(q, np.abs(structure_factors(structure, indices, optics)) ** 2)


def powder_pattern(q: Float[np.ndarray, "*B K"], power: Float[np.ndarray, " K"]) -> Float32[np.ndarray, "*B D"]:
    """Sum the power at spatial frequencies q (1/Å) into bins; square root; unit length (zeros stay zeros).

    Several rows of q give the pattern of the same power on several lattices.
    """
    position = (q.reshape(-1, q.shape[-1]) - Q_MIN) / (Q_MAX - Q_MIN) * (FINGERPRINT_SIZE - 1)
    low = np.floor(position).astype(int)
    inside = (low >= 0) & (low < FINGERPRINT_SIZE - 1)
    row, node = np.nonzero(inside)
    low, fraction, weight = low[inside], (position - low)[inside], power[node]
    cell = row * FINGERPRINT_SIZE + low
    pattern = np.bincount(cell, weight * (1 - fraction), len(position) * FINGERPRINT_SIZE)
    pattern += np.bincount(cell + 1, weight * fraction, len(position) * FINGERPRINT_SIZE)
    padded = np.pad(pattern.reshape(-1, FINGERPRINT_SIZE), ((0, 0), (1, 1)))
    pattern = 0.25 * padded[:, :-2] + 0.5 * padded[:, 1:-1] + 0.25 * padded[:, 2:]
    pattern = np.sqrt(np.maximum(pattern, 0.0))
    norm = np.linalg.norm(pattern, axis=1, keepdims=True)
    unit = np.divide(pattern, norm, out=pattern, where=norm > 0)
    return unit.astype(np.float32).reshape(*q.shape[:-1], FINGERPRINT_SIZE)


def nodes(cell: Float[np.ndarray, "2 2"], q_max: float = Q_MAX, q_min: float = Q_MIN) -> Int[np.ndarray, "K 2"]:
    """Reciprocal nodes of a plane cell (rows, Å) with q_min < q < q_max, one of each Friedel pair."""
    reciprocal = np.linalg.inv(cell).T
    # |h| of any node inside the disk is at most q_max |a|.
    limit = np.ceil(q_max * np.linalg.norm(cell, axis=1)).astype(int)
    h, k = np.mgrid[0 : limit[0] + 1, -limit[1] : limit[1] + 1]
    indices = np.column_stack([h.ravel(), k.ravel()])
    indices = indices[(indices[:, 0] > 0) | (indices[:, 1] > 0)]
    q = np.linalg.norm(indices @ reciprocal, axis=1)
    return indices[(q > q_min) & (q < q_max)]
