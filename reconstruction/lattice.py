r"""The lattice of an image, from all its reflections at once.

1. Reflections: maxima of the windowed power spectrum that noise alone would not reach anywhere in the image.
2. A real-space vector v is a lattice vector when every reflection agrees: S(v) = Σ w cos(2π g·v) / Σ w = 1.
   The weights grow with the logarithm of the signal-to-noise ratio, so weak superstructure reflections count
   and one strong harmonic cannot impose a sub-multiple.
3. The two shortest independent vectors with S above a limit, then least squares over all indexed reflections.
4. Standard errors from the scatter of the reflections about the fit.

The image fixes the lattice of the *projection*; the crystal's may be a superlattice of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from jaxtyping import Float
from scipy import ndimage

from microscopy.micrograph import Micrograph
from reconstruction.records import ImageLattice
from reconstruction.spectrum import Spectrum, windowed

LONGEST_AXIS = 42.0
"""Å, longest projected axis looked for."""

SHORTEST_AXIS = 1.2
"""Å, shortest: below every distance between atoms of one layer."""

FALSE_REFLECTIONS = 0.01
"""Expected number of reflections that pure noise yields in one image."""

WEAK = 1000.0
"""Signal-to-noise power ratio of the strongest reflection below which no side lobe reaches the noise: a window that
wastes less of the image, and finds reflections at half the dose, can then be used."""

AGREEMENT = 0.8
"""S(v) above which v is a candidate lattice vector: a few stray reflections are forgiven."""

MAX_REFLECTIONS = 150

LEVELS = (0.0, 1e-4, 1e-3, 1e-2, 0.05, 0.15)
"""Reflections weaker than this share of the strongest are left out, if with them no lattice explains ``ENOUGH``:
scan jitter and drift surround every strong reflection with weak satellites."""

ENOUGH = 0.95
SHARP = 0.03
"""Share of the reflections, and rms distance of their orders from integers, at which a lattice is taken at once."""

INDEXED = 0.1
"""A reflection belongs to a lattice when its orders are integers within this."""

ONE_LATTICE = 0.8
"""Share of the reflected power below which the image is said to hold more than one lattice."""


def find_lattice(micrograph: Micrograph, q_max: float) -> ImageLattice | None:
    """Find the lattice of the projected image.

    Parameters
    ----------
    micrograph
        The image as measured, with a pixel size (denoising is not needed).
    q_max
        Highest spatial frequency the optics pass, 1/Å.

    Returns
    -------
    The lattice, or None when the image has fewer than two independent reflections above its noise.
    """
    view = windowed(micrograph, "blackman", q_max)
    g, snr = reflections(view, q_max)
    if snr.max(initial=0.0) < WEAK:
        view = windowed(micrograph, "half", q_max)
        g, snr = reflections(view, q_max)
    if len(g) < 2:
        return None
    best: _Indexing | None = None
    for level in LEVELS:
        strong = snr >= level * snr.max()
        if level > 0 and strong.sum() < 3:
            break
        indexing = _index(g[strong], snr[strong], min(LONGEST_AXIS, 0.6 * view.extent))
        if indexing is not None and (best is None or indexing.merit > best.merit):
            best = indexing
        if indexing is not None and indexing.share >= ENOUGH and indexing.misfit <= SHARP:
            break
    if best is None:
        return None
    order = g @ best.vectors.T
    explained = np.abs(order - np.round(order)).max(axis=1) < INDEXED
    share = float(snr[explained].sum() / snr.sum())
    warnings = []
    if share < ONE_LATTICE:
        warnings.append(
            f"{1 - share:.0%} of the reflected power does not belong to one lattice: "
            "a second grain or layer, or strong distortion; crop to one region"
        )
    if view.extent < 3 * np.linalg.norm(best.vectors, axis=1).max():
        warnings.append("the field of view holds fewer than three cells along one axis")
    return ImageLattice(best.vectors, best.errors, float(np.sqrt(snr.max())), best.reflections, share, tuple(warnings))


@dataclass(frozen=True, eq=False)
class _Indexing:
    """A lattice, the share of the reflections (by weight) it indexes, and how far their orders are from integers."""

    vectors: np.ndarray
    errors: np.ndarray
    share: float
    misfit: float
    reflections: int

    @property
    def merit(self) -> float:
        """Share of the reflections, less for a loose fit."""
        return self.share * (1 - self.misfit / INDEXED)


def _index(g: np.ndarray, snr: np.ndarray, longest: float) -> _Indexing | None:
    """The smallest lattice on which a set of reflections agrees, by least squares."""
    weights = np.log1p(snr)
    vectors = _shortest_vectors(g, weights, longest)
    if vectors is None:
        return None
    for tolerance in (2 * INDEXED, INDEXED, INDEXED):
        fitted = _fit(g, weights, vectors, tolerance)
        if fitted is None:
            return None
        vectors, errors, indexed = fitted
        vectors, errors = gauss_reduce(vectors, errors)
    order = g[indexed] @ vectors.T
    misfit = float(np.sqrt(np.average(((order - np.round(order)) ** 2).max(axis=1), weights=weights[indexed])))
    return _Indexing(vectors, errors, float(weights[indexed].sum() / weights.sum()), misfit, int(indexed.sum()))


def reflections(view: Spectrum, q_max: float) -> tuple[Float[np.ndarray, "K 2"], Float[np.ndarray, " K"]]:
    """Reflections above the noise, one of each Friedel pair: (gx, gy) in 1/Å, and signal-to-noise power ratios."""
    shape = tuple(scipy.fft.next_fast_len(2 * n) for n in view.image.shape)
    power = np.abs(scipy.fft.rfft2(view.image, shape)) ** 2 / view.weight**2
    gy, gx = np.fft.fftfreq(shape[0], view.pixel_size[0]), np.fft.rfftfreq(shape[1], view.pixel_size[1])
    q = np.hypot(gx[None, :], gy[:, None])
    q_low = max(1 / LONGEST_AXIS, 2.5 / view.extent)
    inside = (q > q_low) & (q < min(q_max, 0.98 * 0.5 / max(view.pixel_size)))
    ratio = np.where(inside, power / view.noise(q), 0.0)
    # The padded grid holds four points per coefficient of the image.
    independent = inside.sum() / 4
    threshold = np.log(max(independent, 10) / FALSE_REFLECTIONS)
    maxima = (ndimage.maximum_filter(ratio, size=5, mode="wrap") == ratio) & (ratio > threshold)
    maxima[gy <= 0, 0] = False  # gx = 0 holds both partners of a pair
    row, column = np.nonzero(maxima)
    order = np.argsort(ratio[row, column])[::-1][:MAX_REFLECTIONS]
    row, column = row[order], column[order]
    g = np.column_stack([gx[column], gy[row]])
    return _refine_peaks(view, g), ratio[row, column]


def gauss_reduce(
    vectors: Float[np.ndarray, "2 2"], errors: Float[np.ndarray, "2 2"] | None = None
) -> tuple[Float[np.ndarray, "2 2"], Float[np.ndarray, "2 2"]]:
    """Shortest basis of a plane lattice, |a| ≤ |b|, angle between 60° and 120°, positive determinant; errors follow."""
    a, b = np.asarray(vectors, dtype=float)
    ea, eb = np.zeros((2, 2)) if errors is None else np.asarray(errors, dtype=float)
    for _ in range(1000):
        if a @ a > b @ b:
            a, b, ea, eb = b, a, eb, ea
        m = round(float(a @ b) / float(a @ a))
        if m == 0:
            break
        b, eb = b - m * a, np.hypot(eb, m * ea)
    if np.linalg.det([a, b]) < 0:
        b = -b
    return np.array([a, b]), np.array([ea, eb])


def _refine_peaks(view: Spectrum, g: np.ndarray) -> np.ndarray:
    """One damped Newton step of |c(g)|² from grid maxima: sub-pixel positions."""
    if not len(g):
        return g
    step_limit = 0.5 / view.extent
    for _ in range(2):
        c, first, second = view.gradients(g)
        gradient = 2 * np.real(np.conj(c)[:, None] * first)
        outer = np.real(np.conj(first)[:, :, None] * first[:, None, :])
        hessian = 2 * (np.real(np.conj(c)[:, None, None] * second) + outer)
        trace_scale = -np.trace(hessian, axis1=1, axis2=2)
        concave = (trace_scale > 0) & (np.linalg.det(hessian) > 0)
        step = np.zeros_like(g)
        step[concave] = -np.linalg.solve(hessian[concave], gradient[concave][:, :, None])[:, :, 0]
        length = np.linalg.norm(step, axis=1, keepdims=True)
        g = g + step * np.minimum(1.0, step_limit / np.maximum(length, 1e-12))
    return g


def _shortest_vectors(g: np.ndarray, weights: np.ndarray, longest: float) -> np.ndarray | None:
    """Two shortest independent vectors on which the reflections agree; None when there are none."""
    highest = float(np.linalg.norm(g, axis=1).max())
    step = min(0.15, 0.2 / highest)
    n = int(np.ceil(longest / step))
    axis = np.arange(-n, n + 1) * step
    half = axis[n:]
    phase_x = np.exp(2j * np.pi * np.outer(axis, g[:, 0]))
    phase_y = np.exp(2j * np.pi * np.outer(half, g[:, 1]))
    agreement = np.real((phase_y * (weights / weights.sum())) @ phase_x.T)
    peak = (ndimage.maximum_filter(agreement, size=3, mode="nearest") == agreement) & (agreement > AGREEMENT - 0.15)
    row, column = np.nonzero(peak)
    vectors = np.column_stack([axis[column], half[row]])
    length = np.linalg.norm(vectors, axis=1)
    keep = (length > SHORTEST_AXIS) & (length <= longest)
    vectors = vectors[keep]
    if len(vectors) < 2:
        return None
    vectors = _polish(vectors, g, weights)
    value = np.cos(2 * np.pi * vectors @ g.T) @ weights / weights.sum()
    # A maximum too weak to hold may have slid to the origin.
    vectors = vectors[(value > AGREEMENT) & (np.linalg.norm(vectors, axis=1) > SHORTEST_AXIS)]
    vectors = vectors[np.argsort(np.linalg.norm(vectors, axis=1))]
    for i, first in enumerate(vectors):
        for second in vectors[i + 1 :]:
            sine = abs(np.linalg.det([first, second])) / (np.linalg.norm(first) * np.linalg.norm(second))
            if sine > 0.2:
                return gauss_reduce(np.array([first, second]))[0]
    return None


def _polish(vectors: np.ndarray, g: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Least squares of g·v = integer from a grid maximum, reflections within a quarter of an order."""
    polished = []
    for v in vectors:
        fitted = v
        for _ in range(2):
            order = g @ fitted
            near = np.abs(order - np.round(order)) < 0.25
            if near.sum() < 2:
                break
            root = np.sqrt(weights[near])
            fitted = np.linalg.lstsq(g[near] * root[:, None], np.round(order[near]) * root, rcond=None)[0]
        polished.append(fitted)
    return np.array(polished)


def _fit(
    g: np.ndarray, weights: np.ndarray, vectors: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Least squares of all reflections that index within a tolerance: vectors, standard errors, which were used."""
    order = g @ vectors.T
    indices = np.round(order)
    indexed = (np.abs(order - indices).max(axis=1) < tolerance) & np.any(indices != 0, axis=1)
    if indexed.sum() < 2 or np.linalg.matrix_rank(indices[indexed]) < 2:
        return None
    h, w = indices[indexed], weights[indexed]
    normal = h.T @ (h * w[:, None])
    basis = np.linalg.solve(normal, h.T @ (g[indexed] * w[:, None]))
    residual = g[indexed] - h @ basis
    freedom = max(len(h) - 2, 1)
    variance = (residual**2 * w[:, None]).sum(axis=0) / freedom
    covariance = np.linalg.inv(normal)
    fitted = np.linalg.inv(basis).T
    # First-order propagation of the reciprocal basis B to R = B^-T: dR = -R dB^T R.
    errors = np.zeros((2, 2))
    for i in range(2):
        for j in range(2):
            total = 0.0
            for k in range(2):
                for m in range(2):
                    total += (fitted[i, m] * fitted[k, j]) ** 2 * covariance[k, k] * variance[m]
            errors[i, j] = np.sqrt(total)
    return fitted, errors, indexed
