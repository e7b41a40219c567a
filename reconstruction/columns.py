"""Atomic columns in a unit-cell average, found without a model of the crystal.

A single map of maxima cannot say which of them are noise. Here the average is redrawn many times with its own
noise (or given as averages of parts of the image); the maxima of all draws are points in the cell, and HDBSCAN
(Campello et al. 2013) separates the places where maxima recur from those where they do not. Distances are periodic
and in Å, so that a column on a corner or edge of the cell is one column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from jaxtyping import Float, Float32
from scipy import ndimage
from skimage.morphology import h_maxima

from microscopy.errors import ReconstructionError

REPLICATES = 24
"""Redrawn averages; the share of them that show a column is known to a tenth."""
BLUR = 0.15
"""Å, standard deviation of the band limit: below the width of a column at any resolution that shows atoms."""
PROMINENCE = 4.0
"""A maximum has to rise above its saddle by this many standard deviations of the map it is in."""
FLAT = 8.0
"""A map whose whole range is less than this many standard deviations may be noise alone (which spans about six)."""
MIN_CONTRAST = 0.03
"""Share of the map's range below which a maximum is ripple of the probe, not an atom."""
SEPARATION = 0.4
"""Å. Two maxima nearer than this are one column: atoms projected nearer are not resolved."""
MIN_PROBABILITY = 0.5
"""Columns that appear in less than half of the draws are not reported."""
FIT_RADIUS = 0.4
"""Å around a maximum that the quadratic fit sees: the top of the peak, not its neighbours."""

_NEIGHBOURS = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)], dtype=float)


@dataclass(frozen=True, eq=False)
class Columns:
    """Atomic columns of one cell, brightest first.

    Attributes
    ----------
    positions
        Fractional (u, v) in [0, 1), shape (M, 2).
    heights
        Value of the average at the column less the average's mean, times the contrast sign, shape (M,).
    probability
        Share of the draws that show the column, times its mean membership strength, shape (M,).
    position_errors
        Standard error of one component from the scatter over the draws, Å, shape (M,).
    """

    positions: Float[np.ndarray, "M 2"]
    heights: Float[np.ndarray, " M"]
    probability: Float[np.ndarray, " M"]
    position_errors: Float[np.ndarray, " M"]


def find_columns(
    average: Float32[np.ndarray, "h w"],
    cell: Float[np.ndarray, "2 2"],
    standard_error: Float32[np.ndarray, "h w"],
    *,
    sign: int = 1,
    replicates: Float32[np.ndarray, "K h w"] | None = None,
    seed: int = 0,
) -> Columns:
    """Find atomic columns in a unit-cell average.

    Parameters
    ----------
    average, standard_error
        Shape (h, w), point (r, c) at fractional (u, v) = (c / w, r / h), as ``cell_average`` returns them.
    cell
        Rows a, b as (x, y) in Å, Gauss-reduced or nearly so.
    sign
        +1 where atoms are bright (iDPC, HAADF), -1 where they are dark (ABF).
    replicates
        Averages over parts of the image (halves, quadrants); without them the average is redrawn with its own noise,
        which spreads maxima as averages over random halves of the image would.
    seed
        Of the noise that is drawn.

    Raises
    ------
    ReconstructionError
        If the shapes disagree or the sign is neither +1 nor -1.
    """
    if average.shape != standard_error.shape or (replicates is not None and replicates.shape[1:] != average.shape):
        raise ReconstructionError(f"average {average.shape} and its errors {standard_error.shape} differ in shape")
    if sign not in (1, -1):
        raise ReconstructionError(f"contrast sign {sign} is neither +1 (bright atoms) nor -1 (dark atoms)")
    finite = np.isfinite(standard_error)
    noise = np.where(finite, standard_error, np.median(standard_error[finite]) if finite.any() else 0.0)
    signal = sign * (average.astype(float) - float(average.mean()))
    gain = _band_limit(average.shape, cell)
    smooth = _filtered(signal, gain)
    # Standard deviation of the filtered map if the noise of its points is independent.
    sigma = float(np.sqrt(np.mean(noise**2) * np.mean(gain**2)))
    if replicates is None:
        drawn = np.random.default_rng(seed).normal(size=(REPLICATES, *average.shape)) * noise
        # A redrawn map has the noise of the average twice, and scatters about it by the average's own error.
        draws, spread, scatter = signal + drawn, np.sqrt(2.0), 1.0
    else:
        draws = sign * (replicates - replicates.mean(axis=(1, 2), keepdims=True)).astype(float)
        spread = float(np.sqrt(len(replicates)))
        scatter = 1.0 / spread
    height = max(PROMINENCE * spread * sigma, MIN_CONTRAST * float(np.ptp(smooth)))
    if float(np.ptp(smooth)) <= max(FLAT * sigma, height):
        return _none()
    maps = _filtered(draws, gain)
    points = [_maxima(image, height) for image in maps]
    owner = np.repeat(np.arange(len(points)), [len(p) for p in points])
    scattered = np.concatenate(points)
    labels, strength = _cluster(scattered, cell, len(points))
    found = []
    for label in range(labels.max(initial=-1) + 1):
        members = labels == label
        probability = len(np.unique(owner[members])) / len(points) * float(strength[members].mean())
        if probability < MIN_PROBABILITY:
            continue
        centre = _centre(scattered[members], cell)
        vertices, values = _fit_peak(np.concatenate([smooth[None], maps]), cell, centre)
        position = centre + vertices[0] @ np.linalg.inv(cell)
        error = scatter * float(np.sqrt(np.mean(np.var(vertices[1:], axis=0))))
        found.append((float(values[0]), *position, probability, error))
    if not found:
        return _none()
    table = np.array(sorted(found, reverse=True))
    return Columns(table[:, 1:3] % 1.0, table[:, 0], table[:, 3], table[:, 4])


def _none() -> Columns:
    return Columns(np.zeros((0, 2)), np.zeros(0), np.zeros(0), np.zeros(0))


def _band_limit(shape: tuple[int, ...], cell: np.ndarray) -> np.ndarray:
    """Gaussian gain on the reciprocal lattice of the cell."""
    h, w = shape
    orders = np.stack(np.meshgrid(np.fft.fftfreq(w, 1 / w), np.fft.fftfreq(h, 1 / h)), axis=-1)
    g = orders @ np.linalg.inv(cell).T
    return np.exp(-2 * np.pi**2 * BLUR**2 * np.sum(g**2, axis=-1))


def _filtered(image: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return np.real(scipy.fft.ifft2(scipy.fft.fft2(image) * gain))


def _maxima(image: np.ndarray, height: float) -> Float[np.ndarray, "P 2"]:
    """Fractional (u, v) of the maxima of a periodic map that rise by ``height`` above their saddles."""
    h, w = image.shape
    pad = ((h // 2, h // 2), (w // 2, w // 2))
    marked = h_maxima(np.pad(image, pad, mode="wrap"), height)[h // 2 : h // 2 + h, w // 2 : w // 2 + w]
    # The highest point of a marked plateau: a 3 x 3 maximum of the map itself.
    peaks = (marked > 0) & (ndimage.maximum_filter(image, size=3, mode="wrap") == image)
    rows, columns = np.nonzero(peaks)
    return np.array([_subpixel(image, int(r), int(c)) for r, c in zip(rows, columns, strict=True)]).reshape(-1, 2)


def _subpixel(image: np.ndarray, r: int, c: int) -> tuple[float, float]:
    """Vertex of the parabola through each axis's three points, fractional (u, v)."""
    h, w = image.shape
    centre = image[r, c]
    up, down = image[(r - 1) % h, c], image[(r + 1) % h, c]
    left, right = image[r, (c - 1) % w], image[r, (c + 1) % w]
    dv = 0.5 * (up - down) / min(up + down - 2 * centre, -1e-12)
    du = 0.5 * (left - right) / min(left + right - 2 * centre, -1e-12)
    return (c + float(np.clip(du, -0.5, 0.5))) / w, (r + float(np.clip(dv, -0.5, 0.5))) / h


def _periodic(delta: Float[np.ndarray, "*K 2"], cell: np.ndarray) -> Float[np.ndarray, "*K 2"]:
    """Shortest vectors in Å of fractional differences."""
    images = (delta - np.round(delta))[..., None, :] + _NEIGHBOURS
    vectors = images @ cell
    nearest = np.sum(vectors**2, axis=-1).argmin(axis=-1)
    return np.take_along_axis(vectors, nearest[..., None, None], axis=-2)[..., 0, :]


def _cluster(points: Float[np.ndarray, "P 2"], cell: np.ndarray, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """HDBSCAN labels (-1: noise) and membership strengths of maxima under the periodic distance."""
    import hdbscan

    if len(points) < max(2, draws // 2):
        return np.full(len(points), -1), np.zeros(len(points))
    vectors = _periodic(points[:, None, :] - points[None, :, :], cell)
    distance = np.ascontiguousarray(np.linalg.norm(vectors, axis=-1))
    smallest = max(2, draws // 2)
    for single in (False, True):
        # Density selection never returns everything as one cluster unless it is told that it may.
        clusterer = hdbscan.HDBSCAN(
            metric="precomputed",
            min_cluster_size=smallest,
            min_samples=max(1, draws // 6),
            cluster_selection_epsilon=SEPARATION,
            allow_single_cluster=single,
        ).fit(distance)
        if clusterer.labels_.max() >= 0:
            break
    return clusterer.labels_, clusterer.probabilities_


def _centre(members: Float[np.ndarray, "P 2"], cell: np.ndarray) -> Float[np.ndarray, " 2"]:
    """Fractional mean of the members of a cluster."""
    mean = _periodic(members - members[0], cell).mean(axis=0)
    return np.asarray((members[0] + mean @ np.linalg.inv(cell)) % 1.0)


def _fit_peak(
    images: np.ndarray, cell: np.ndarray, centre: Float[np.ndarray, " 2"]
) -> tuple[Float[np.ndarray, "K 2"], Float[np.ndarray, " K"]]:
    """Vertex in Å from the centre, and value, of the quadratic through the top of a peak in each of several maps.

    Where a map has no top within reach, the centre and the map's value there.
    """
    h, w = images.shape[1:]
    u, v = np.meshgrid(np.arange(w) / w, np.arange(h) / h)
    vectors = _periodic(np.stack([u, v], axis=-1).reshape(-1, 2) - centre, cell)
    squared = np.sum(vectors**2, axis=-1)
    flat = images.reshape(len(images), -1)
    vertices, values = np.zeros((len(images), 2)), flat[:, squared.argmin()].copy()
    near = squared < FIT_RADIUS**2
    if near.sum() < 9:
        return vertices, values
    x, y = vectors[near].T
    # Weights fall off so that the vertex follows the top, whatever the flanks do.
    weight = np.exp(-squared[near] / FIT_RADIUS**2)
    design = np.column_stack([np.ones_like(x), x, y, x * x, x * y, y * y]) * weight[:, None]
    fits = np.linalg.lstsq(design, (flat[:, near] * weight).T, rcond=None)[0].T
    for k, (c0, cx, cy, cxx, cxy, cyy) in enumerate(fits):
        hessian = np.array([[2 * cxx, cxy], [cxy, 2 * cyy]])
        if not (cxx < 0 and np.linalg.det(hessian) > 0):
            continue
        vertex = -np.linalg.solve(hessian, [cx, cy])
        if np.linalg.norm(vertex) <= FIT_RADIUS / 2:
            vertices[k], values[k] = vertex, c0 + 0.5 * (cx * vertex[0] + cy * vertex[1])
    return vertices, values
