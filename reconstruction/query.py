"""Fingerprints of an image: what the library is asked with, as measured and as it would be without scan distortion."""

from __future__ import annotations

from itertools import product

import numpy as np
from jaxtyping import Float, Float32, Int64

from library.fingerprint import FINGERPRINT_SIZE, REFERENCE_OPTICS, nodes, powder_pattern
from library.store import Library
from microscopy.linear import transfer
from microscopy.micrograph import Modality
from reconstruction.measurement import Measurement

SCALE_STEP, FINE_STEP = 0.01, 0.001
"""Relative steps between scales: as much as a fingerprint forgives, and so fine that the right crystal is matched as
well as it can be. Between coarse steps it would lose to others of which the right size happens to be a step."""

SCALE_RANGE = 0.11
"""Largest logarithm of a scale that is tried: a pixel size off by 10 %, with what the fingerprint forgives to spare."""

WIDER = 10
"""Templates compared at every fine scale for each that is kept."""

BASES = [
    basis for basis in np.reshape(list(product((-1, 0, 1), repeat=4)), (-1, 2, 2)) if round(np.linalg.det(basis)) == 1
]
"""Bases of one lattice in which a sheared symmetric lattice may be recognised."""


def search(
    measurement: Measurement,
    library: Library,
    modality: Modality,
    strain: float,
    keep: int,
    rows: Int64[np.ndarray, " R"],
) -> tuple[Int64[np.ndarray, " K"], Float32[np.ndarray, " K"]]:
    """Rows of a library whose fingerprints are most like the image's, and how alike, best first.

    The measured lattice and every symmetric one within the strain of it are tried, at every scale within the strain and
    ``SCALE_RANGE``: a scan turns a hexagonal lattice into an oblique one, and its fingerprint into another crystal's.
    """
    vectors = measurement.lattice.vectors
    indices = nodes(vectors, measurement.q_max)
    power = _power(measurement, indices)
    metrics = [vectors @ vectors.T, *symmetric_metrics(vectors, strain)]
    span = min(np.log1p(strain), SCALE_RANGE)
    best = np.full(len(library), -1.0, dtype=np.float32)
    for pattern in _patterns(metrics, _scales(span, SCALE_STEP), indices, power):
        found, scores = library.search(pattern, modality, keep, rows)
        best[found] = np.maximum(best[found], scores)
    found = np.argsort(-best, kind="stable")[: WIDER * keep]
    found = found[best[found] > -1.0]
    fine = _patterns(metrics, _scales(span, FINE_STEP), indices, power)
    scores = (library.fingerprints(modality)[found] @ fine.T).max(axis=1, initial=-1.0)
    order = np.argsort(-scores, kind="stable")[:keep]
    return found[order], scores[order]


def _scales(span: float, step: float) -> Float[np.ndarray, " S"]:
    """Factors from exp(−span) to exp(span), 1 among them."""
    count = round(span / step)
    return np.exp(np.arange(-count, count + 1) * step)


def _patterns(
    metrics: list[Float[np.ndarray, "2 2"]], scales: Float[np.ndarray, " S"], indices: np.ndarray, power: np.ndarray
) -> Float32[np.ndarray, "P D"]:
    """Fingerprints of an image if its lattice had one of these metrics and scales."""
    q = np.sqrt(np.einsum("ki,mij,kj->mk", indices, np.linalg.inv(np.array(metrics)), indices))
    return powder_pattern(scales[:, None, None] * q, power).reshape(-1, FINGERPRINT_SIZE)


def image_fingerprint(measurement: Measurement) -> Float32[np.ndarray, " D"]:
    """Fingerprint of an image as measured."""
    indices = nodes(measurement.lattice.vectors, measurement.q_max)
    q = np.linalg.norm(indices @ np.linalg.inv(measurement.lattice.vectors).T, axis=1)
    return powder_pattern(q, _power(measurement, indices))


def symmetric_metrics(vectors: Float[np.ndarray, "2 2"], strain: float) -> list[Float[np.ndarray, "2 2"]]:
    """Metrics of the hexagonal, square, rectangular and rhombic lattices of the same area within a strain of a lattice.

    Each in the lattice's own basis (rows of ``vectors``, Å), so that reflections keep their indices.
    """
    found: list[np.ndarray] = []
    for basis in BASES:
        metric = basis @ vectors @ vectors.T @ basis.T
        (aa, ab), (_, bb) = metric
        mean = (aa + bb) / 2
        for shape in (
            np.array([[1, -0.5], [-0.5, 1]]),
            np.eye(2),
            np.diag([aa, bb]),
            np.array([[mean, ab], [ab, mean]]),
        ):
            symmetric = shape * np.sqrt(np.linalg.det(metric) / np.linalg.det(shape))
            stretch = np.sqrt(np.linalg.eigvals(np.linalg.inv(metric) @ symmetric).real)
            back = np.linalg.inv(basis)
            own = back @ symmetric @ back.T
            known = any(np.allclose(own, other, rtol=1e-3, atol=1e-3) for other in found)
            if np.abs(stretch - 1).max() <= strain and not known:
                found.append(own)
    return found


def _power(measurement: Measurement, indices: np.ndarray) -> np.ndarray:
    """Power of the image at its nodes, noise taken off, converted to the reference optics of its modality."""
    optics = measurement.optics
    g = indices @ np.linalg.inv(measurement.lattice.vectors).T
    noise = measurement.spectrum.noise(np.linalg.norm(g, axis=1))
    power = np.maximum(np.abs(measurement.spectrum.coefficients(g)) ** 2 - noise, 0.0)
    reference = REFERENCE_OPTICS[optics.modality]
    if reference != optics:
        power = power * (transfer(g, reference) / np.maximum(transfer(g, optics), 0.05)) ** 2
    return power
