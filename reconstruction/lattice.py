r"""The lattice of an image, from all its reflections at once.

1. Reflections: maxima of the windowed power spectrum that noise alone would not reach anywhere in the image.
2. The lattice on which they agree, and a second one if there is (``reconstruction.indexing``).

The image fixes the lattice of the *projection*; the crystal's may be a superlattice of it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.fft
from jaxtyping import Float
from scipy import ndimage

from library.fingerprint import nodes
from microscopy.micrograph import Micrograph
from reconstruction.indexing import find_lattices, gauss_reduce
from reconstruction.records import ImageLattice
from reconstruction.second_lattice import relation
from reconstruction.spectrum import Spectrum, windowed

__all__ = ["find_lattice", "gauss_reduce", "reflections", "sharpened"]

LONGEST_AXIS = 42.0
"""Å, longest projected axis looked for."""

FALSE_REFLECTIONS = 0.01
"""Expected number of reflections that pure noise yields in one image."""

WEAK = 1000.0
"""Signal-to-noise power ratio of the strongest reflection below which no side lobe reaches the noise: a window that
wastes less of the image, and finds reflections at half the dose, can then be used."""

MAX_REFLECTIONS = 150

SHARPENING = 8
"""Newton steps that refine a lattice."""

FAINT = 2.0
"""Power over noise up to which a node does not count in refining a lattice."""

UNSURE = 10.0
"""How many times larger the error of a lattice found in a denoised image is than its reflections say (measured: 9)."""

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
    best, second = find_lattices(g, snr, min(LONGEST_AXIS, 0.6 * view.extent))
    if best is None:
        return None
    share = float(snr[best.explains(g)].sum() / snr.sum())
    warnings = []
    if share < ONE_LATTICE or second is not None:
        cause = "a second grain or layer, or strong distortion"
        warnings.append(
            f"{1 - share:.0%} of the reflected power does not belong to one lattice: "
            f"{cause if second is None else relation(best.vectors, second.vectors)}; crop to one region"
        )
    if view.extent < 3 * np.linalg.norm(best.vectors, axis=1).max():
        warnings.append("the field of view holds fewer than three cells along one axis")
    return ImageLattice(best.vectors, best.errors, float(np.sqrt(snr.max())), best.reflections, share, tuple(warnings))


def sharpened(lattice: ImageLattice, micrograph: Micrograph, q_max: float) -> ImageLattice | None:
    """Refine a lattice that was seen in a denoised image on the recorded one, whose noise is known.

    What the noise does not explain at the nodes, Σ |c|² / N, is the logarithm of the likelihood with every amplitude
    and phase at its best. Its maximum near the given lattice is found by damped Newton steps, the errors follow from
    its curvature. Where that says less than the denoised image did, or there is no maximum, the lattice stays, with
    errors `UNSURE` times those that the denoised image shows.

    Parameters
    ----------
    lattice
        As found elsewhere, right to a fraction of the reflections' width.
    micrograph
        As recorded.
    q_max
        Highest spatial frequency the optics pass, 1/Å.

    Returns
    -------
    The lattice, its ``significance`` that of the power at all nodes of the recorded image: standard deviations above
    that of noise. None when there are no nodes to measure.
    """
    view = windowed(micrograph, "half", q_max)
    start = np.linalg.inv(lattice.vectors).T
    n = nodes(lattice.vectors, min(q_max, 0.98 * 0.5 / max(view.pixel_size)), 2.5 / view.extent)
    if len(n) < 2:
        return None
    reciprocal, longest = start, 0.25 / view.extent
    power, _, _ = _power_at_nodes(view, n, start)
    # A node that may hold no more than noise would only add noise to the lattice.
    signal = np.clip(1 - FAINT / np.maximum(power, 1e-9), 0.0, 1.0)
    for _ in range(SHARPENING):
        _, slopes, bends = _power_at_nodes(view, n, reciprocal)
        gradient, hessian = signal @ slopes, np.einsum("k,kij->ij", signal, bends)
        values, axes = np.linalg.eigh(hessian)
        step = (axes @ ((axes.T @ gradient) / np.abs(values).clip(1e-9))).reshape(2, 2)
        reciprocal = reciprocal + step * min(1.0, longest / max(np.linalg.norm(n @ step, axis=1).max(), 1e-12))
    proposed = replace(lattice, standard_errors=UNSURE * lattice.standard_errors)
    found = _measured(lattice, view, n, reciprocal, signal)
    wandered = np.linalg.norm(n @ (reciprocal - start), axis=1).max() > 1 / view.extent
    # The network knows what columns look like: at the lowest doses it places their lattice better than all nodes do.
    best = proposed if found is None or wandered or found.relative_error > proposed.relative_error else found
    power, _, _ = _power_at_nodes(view, n, np.linalg.inv(best.vectors).T)
    # The power of noise at a node is exponential: mean and standard deviation are one.
    return replace(best, significance=float((power.sum() - len(n)) / np.sqrt(len(n))))


def _measured(
    lattice: ImageLattice, view: Spectrum, n: np.ndarray, reciprocal: np.ndarray, signal: np.ndarray
) -> ImageLattice | None:
    """Lattice at a maximum of the weighted likelihood, and its errors; None where there is no maximum."""
    _, slopes, bends = _power_at_nodes(view, n, reciprocal)
    hessian = np.einsum("k,kij->ij", signal, bends)
    if np.linalg.eigvalsh(hessian).max() >= 0:
        return None
    vectors = np.linalg.inv(reciprocal.T)
    # Curvature counts the noise of a likelihood's own nodes, the scatter of the slopes that of nodes which hold none.
    weighted, inverse = signal[:, None] * slopes, np.linalg.inv(hessian)
    scatter = inverse @ (weighted.T @ weighted - hessian) @ inverse
    # A change δB of the reciprocal rows changes the vectors V = B⁻ᵀ by -V δBᵀ V.
    jacobian = -np.einsum("ij,kl->ilkj", vectors, vectors).reshape(4, 4)
    covariance = jacobian @ scatter @ jacobian.T
    return replace(lattice, vectors=vectors, standard_errors=np.sqrt(np.diag(covariance)).reshape(2, 2))


def _power_at_nodes(view: Spectrum, n: np.ndarray, reciprocal: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Power over noise at each node (K,); its gradient (K, 4) and Hessian (K, 4, 4) by the reciprocal basis."""
    g = n @ reciprocal
    noise = view.noise(np.linalg.norm(g, axis=1))
    power, gradient, hessian = _power(view, g)
    slopes = np.einsum("ki,kj->kij", n, gradient / noise[:, None]).reshape(-1, 4)
    bends = np.einsum("ki,kl,kjm->kijlm", n, n, hessian / noise[:, None, None]).reshape(-1, 4, 4)
    return power / noise, slopes, bends


def _power(view: Spectrum, g: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Power |c|² at frequencies g (K,), its gradient (K, 2) and Hessian (K, 2, 2) by them."""
    c, first, second = view.gradients(g)
    gradient = 2 * np.real(np.conj(c)[:, None] * first)
    outer = np.real(np.conj(first)[:, :, None] * first[:, None, :])
    return np.abs(c) ** 2, gradient, 2 * (np.real(np.conj(c)[:, None, None] * second) + outer)


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


def _refine_peaks(view: Spectrum, g: np.ndarray) -> np.ndarray:
    """One damped Newton step of |c(g)|² from grid maxima: sub-pixel positions."""
    if not len(g):
        return g
    step_limit = 0.5 / view.extent
    for _ in range(2):
        _, gradient, hessian = _power(view, g)
        trace_scale = -np.trace(hessian, axis1=1, axis2=2)
        concave = (trace_scale > 0) & (np.linalg.det(hessian) > 0)
        step = np.zeros_like(g)
        step[concave] = -np.linalg.solve(hessian[concave], gradient[concave][:, :, None])[:, :, 0]
        length = np.linalg.norm(step, axis=1, keepdims=True)
        g = g + step * np.minimum(1.0, step_limit / np.maximum(length, 1e-12))
    return g
