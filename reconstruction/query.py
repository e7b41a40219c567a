"""Fingerprints of an image: what the library is asked with, as measured and as it would be without scan distortion."""

from __future__ import annotations

from itertools import product

import numpy as np
from jaxtyping import Float, Float32, Int64

from library.fingerprint import REFERENCE_OPTICS, nodes, powder_pattern
from library.store import Library
from microscopy.linear import transfer
from microscopy.micrograph import Modality
from reconstruction.measurement import Measurement

CALIBRATED_STRAIN = 0.05
"""Largest strain that is searched for with the image's own fingerprint; it forgives about a percent of scale, and
templates that differ by more still resemble the image enough to be among some hundred."""

SCALE_STEP = 0.01
"""Relative step between scales, as much as a fingerprint forgives."""

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

    Beyond ``CALIBRATED_STRAIN`` every symmetric lattice within the strain of the measured one is tried, at every scale:
    a scan turns a hexagonal lattice into an oblique one, and its fingerprint into another crystal's.
    """
    indices = nodes(measurement.lattice.vectors, measurement.q_max)
    power = _power(measurement, indices)
    metrics = [measurement.lattice.vectors @ measurement.lattice.vectors.T]
    scales = [1.0]
    if strain > CALIBRATED_STRAIN:
        metrics += symmetric_metrics(measurement.lattice.vectors, strain)
        steps = int(np.log1p(strain) / 2 / SCALE_STEP)
        scales = np.exp(np.arange(-steps, steps + 1) * SCALE_STEP).tolist()
    queries = [
        powder_pattern(np.sqrt(np.einsum("ki,ij,kj->k", indices, np.linalg.inv(metric), indices)) * scale, power)
        for metric in metrics
        for scale in scales
    ]
    found, scores = library.search_many(np.stack(queries), modality, keep, rows)
    # A row counts with the best of its scores.
    order = np.argsort(-scores.ravel(), kind="stable")
    order = order[found.ravel()[order] >= 0]
    _, first = np.unique(found.ravel()[order], return_index=True)
    order = order[np.sort(first)][:keep]
    return found.ravel()[order], scores.ravel()[order]


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
