r"""Registration of a template onto an image: rotation, mirror, supercell and origin at once, with phases.

Every integer matrix n whose cell nR has the template's metric within the allowed strain is an alignment: it
carries rotation, mirror and supercell together, because R is the lattice of the projection and may be finer
than the crystal's. For each one the origin u maximises the likelihood of the measured coefficients c(h)
given the template's structure factors F(h),

.. math:: \Delta\log L = \sum_h w_h \left(|c_h|^2 - |c_h - s F_h e^{-2\pi i h\cdot u}|^2\right)
          = \frac{(\Re \sum_h w_h c_h^* F_h e^{-2\pi i h\cdot u})^2}{\sum_h w_h |F_h|^2}

with the amplitude s > 0 already at its optimum. Noise-only nodes cancel, so hypotheses with different
supercells are compared on the same footing. The weights 1/w = σ²(q) + (κ|c|)² + (κ₀ max|c|)² add to the
measured noise what the linear image model gets wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from jaxtyping import Float, Int
from pymatgen.core import Structure

from library.filters import MAX_INDEX
from library.fingerprint import nodes
from microscopy.linear import structure_factors
from microscopy.slab import plane_cell
from reconstruction.measurement import Measurement, gather, hermite, weigh

COARSE_ERROR = 0.06
"""Relative error of a coefficient of the linear model, detector orientation unknown (κ of the first pass)."""

DAMPING = 0.15
"""Å², most likely damping exp(−B q²): thermal motion."""

EQUAL = 1e-3
"""Relative difference of likelihood below which two alignments of one template are one seen twice."""

BATCH = 8
"""Alignments whose origins are sought at once."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """A template on the image before refinement: integer matrix n, fractional origin u, contrast sign, gain."""

    matrix: Int[np.ndarray, "2 2"]
    origin: Float[np.ndarray, " 2"]
    sign: float
    gain: float


def alignments(
    template: Float[np.ndarray, "2 2"], lattice: Float[np.ndarray, "2 2"], strain: float
) -> Int[np.ndarray, "A 2 2"]:
    """All integer matrices n with n·lattice equal to the template cell up to rotation, mirror and strain.

    ``strain`` bounds the singular values of the deformation: |s − 1| ≤ strain.
    """
    lengths = np.linalg.norm(template, axis=1)
    longest = float(lengths.max()) * (1 + strain)
    reciprocal = np.linalg.inv(lattice)
    limit = np.floor(longest * np.linalg.norm(reciprocal, axis=0)).astype(int)
    i, j = np.mgrid[-limit[0] : limit[0] + 1, -limit[1] : limit[1] + 1]
    points = np.column_stack([i.ravel(), j.ravel()])
    norms = np.linalg.norm(points @ lattice, axis=1)
    first, second = (points[np.abs(norms / length - 1) <= strain + 1e-9] for length in lengths)
    if not len(first) or not len(second):
        return np.zeros((0, 2, 2), dtype=int)
    pairs = np.stack([np.repeat(first, len(second), axis=0), np.tile(second, (len(first), 1))], axis=1)
    index = np.abs(np.linalg.det(pairs)).round().astype(int)
    pairs = pairs[(index > 0) & (index <= MAX_INDEX)]
    deformation = np.linalg.inv(template) @ (pairs @ lattice)
    singular = np.linalg.svd(deformation, compute_uv=False)
    return pairs[np.abs(singular - 1).max(axis=1) <= strain] if len(pairs) else pairs


def align(
    structure: Structure, measurement: Measurement, strain: float, sign_free: bool = False, keep: int = 3
) -> list[Alignment]:
    """Best alignments of a slab with an image, best first; empty when its cell does not fit within the strain.

    Parameters
    ----------
    structure
        Slab.
    measurement
        The image's coefficients.
    strain
        Largest relative deformation of the slab's cell that is allowed.
    sign_free
        Also try inverted contrast (modality unknown).
    keep
        Number of alignments returned.
    """
    template = plane_cell(structure)
    matrices = alignments(template, measurement.lattice.vectors, strain)
    if not len(matrices):
        return []
    indices = nodes(template, measurement.q_max)
    q = np.linalg.norm(indices @ np.linalg.inv(template).T, axis=1)
    model = structure_factors(structure, indices, measurement.optics) * np.exp(-DAMPING * q**2)
    # No origin can explain more than coefficients whose phases all agree: alignments are asked in the order of that
    # bound, until none that is left can be among the best.
    matrices, c, weights = _gathered(measurement, matrices, indices)
    power = weights @ np.abs(model) ** 2
    bound = ((weights * np.abs(c)) @ np.abs(model)) ** 2 / np.maximum(power, np.finfo(float).tiny)
    found: list[Alignment] = []
    order = np.argsort(-bound, kind="stable")
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        if len(found) == keep and bound[batch[0]] < found[-1].gain:
            break
        asked = _origins(matrices[batch], c[batch], model, weights[batch], indices, sign_free)
        found = _distinct(sorted([*found, *asked], key=lambda a: -a.gain), keep)
    return found


def _gathered(
    measurement: Measurement, matrices: Int[np.ndarray, "A 2 2"], indices: Int[np.ndarray, "K 2"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrices with their coefficients and weights, shape (A, K); in the order of their superlattices."""
    groups: dict[tuple[int, ...], list[np.ndarray]] = {}
    for n in matrices:
        groups.setdefault(tuple(hermite(n).ravel().tolist()), []).append(n)
    ordered = np.array([n for group in groups.values() for n in group])
    c = np.concatenate([gather(measurement, np.array(group), indices) for group in groups.values()])
    reciprocal = np.swapaxes(np.linalg.inv(ordered @ measurement.lattice.vectors), -1, -2)
    q = np.linalg.norm(indices @ reciprocal, axis=-1)
    return ordered, c, weigh(c, q, measurement, COARSE_ERROR)


def _distinct(found: list[Alignment], keep: int) -> list[Alignment]:
    """The first of each set of equally good alignments: symmetry makes up to a dozen of one."""
    kept: list[Alignment] = []
    for alignment in found:
        if len(kept) == keep:
            break
        if not kept or alignment.gain < (1 - EQUAL) * kept[-1].gain:
            kept.append(alignment)
    return kept


def _origins(
    matrices: np.ndarray,
    c: np.ndarray,
    model: np.ndarray,
    weights: np.ndarray,
    indices: np.ndarray,
    sign_free: bool,
) -> list[Alignment]:
    """Origin and contrast sign of each alignment that maximise the likelihood, on a grid."""
    limit = np.abs(indices).max(axis=0)
    shape = tuple(scipy.fft.next_fast_len(int(4 * m + 2)) for m in limit)
    grids = np.zeros((len(matrices), *shape), dtype=complex)
    grids[:, indices[:, 0] % shape[0], indices[:, 1] % shape[1]] = weights * np.conj(c) * model
    overlaps = np.real(scipy.fft.fft2(grids)).reshape(len(matrices), -1)
    power = weights @ np.abs(model) ** 2
    found = []
    for n, overlap, total in zip(matrices, overlaps, power, strict=True):
        inverted = sign_free and -overlap.min() > overlap.max()
        at = int(overlap.argmin() if inverted else overlap.argmax())
        gain = max(float(-overlap[at] if inverted else overlap[at]), 0.0) ** 2 / float(total) if total > 0 else 0.0
        origin = np.array(np.unravel_index(at, shape)) / shape
        found.append(Alignment(n, origin, -1.0 if inverted else 1.0, gain))
    return found
