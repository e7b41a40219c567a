"""What is signal and what is noise in the Fourier plane of a micrograph.

A crystal puts its power into sparse reflections; noise fills every ring of the Fourier plane. The
median over a ring therefore measures the noise, whatever its colour: iDPC integrates the detector
signal, which multiplies the white shot noise by 1/q², so that a single number cannot describe it.
Spectra have the half-plane layout of ``rfft2``, frequencies are in cycles per pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float
from scipy import fft
from scipy.ndimage import binary_dilation, median_filter

FALSE_ALARM = 1e-4
"""Probability that an image of pure noise shows one significant reflection anywhere."""

RING_PIXELS = 96
"""Fourier pixels per ring at least: the median of as many is known to about 15 %."""

MIN_CYCLES = 3.0
"""Periods a lattice must show across the shorter side; anything slower is background."""

PASSES = 3
"""Estimates of the noise, each without the reflections found before."""

AXIS_WINDOW = 31
"""Length, in pixels, of the running median along the Fourier axes."""

APERTURE = 3.0
"""Radius in Fourier pixels kept around a reflection: the main lobe of the Hann window, plus one."""

_MEDIAN_TO_MEAN = 1.0 / np.log(2.0)
"""Mean over median of the exponential distribution that noise power follows."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Power of an image, Hann-windowed, split by statistics alone.

    Attributes
    ----------
    power
        |F|² of the image less its mean, per pixel, so that white noise of variance v has mean power v.
    noise
        Expected power of the noise at each frequency, same shape (H, W // 2 + 1) and unit.
    reflections
        True around every reflection that pure noise would show with probability below ``FALSE_ALARM``.
    """

    power: Float[np.ndarray, "H K"]
    noise: Float[np.ndarray, "H K"]
    reflections: Bool[np.ndarray, "H K"]

    def mean(self, quantity: Float[np.ndarray, "H K"], width: int) -> float:
        """Mean of a quantity over the full Fourier plane of an image ``width`` pixels wide."""
        weight = np.full(quantity.shape[1], 2.0)
        weight[0] = 1.0
        if width % 2 == 0:
            weight[-1] = 1.0
        return float((quantity * weight).sum() / (quantity.shape[0] * width))


def frequencies(shape: tuple[int, int], pixel: tuple[float, float] = (1.0, 1.0)) -> Float[np.ndarray, "H K"]:
    """Spatial frequency of each element of ``rfft2``, in cycles per unit of ``pixel`` (y, x)."""
    return np.hypot(fft.fftfreq(shape[0], pixel[0])[:, None], fft.rfftfreq(shape[1], pixel[1])[None, :])


def spectrum(image: Float[np.ndarray, "H W"], strength: float = 1.0) -> Spectrum:
    """Separate reflections from noise.

    Parameters
    ----------
    image
        Any unit, shape (H, W), at least 16 pixels along each axis.
    strength
        Multiplies the threshold of significance.

    Returns
    -------
    Spectrum
    """
    height, width = image.shape
    window = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[None, 1:-1]
    # Weighted mean: what is left at zero frequency would leak into the lowest ring.
    centred = (image - (image * window).sum() / window.sum()) * window
    power = np.abs(fft.rfft2(centred)) ** 2 / float((window**2).sum())
    q = frequencies((height, width))
    axes = _axis_floor(power)
    # Noise power is exponential, so the largest of n ratios exceeds t with probability n exp(-t).
    threshold = strength * np.log(power.size / FALSE_ALARM)
    reflections = np.zeros(power.shape, dtype=bool)
    # A small cell puts reflections into much of every ring: those found are left out of the next estimate.
    for _ in range(PASSES):
        noise = np.maximum(_radial_floor(power, q, ~reflections), axes)
        significant = (power > threshold * noise) & (q * min(height, width) >= MIN_CYCLES)
        grown = _dilated(significant)
        if (grown == reflections).all():
            break
        reflections = grown
    return Spectrum(power, noise, reflections)


def _radial_floor(power: np.ndarray, q: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Noise power as a function of |q|: ring medians over ``keep``, interpolated on double logarithmic axes."""
    keep = keep & (q > 0)  # zero frequency is not noise
    if keep.sum() < 4 * RING_PIXELS:
        keep = q > 0
    order = np.flatnonzero(keep)
    order = order[np.argsort(q.ravel()[order], kind="stable")]
    rings = max(2, int(np.sqrt(order.size / RING_PIXELS)))
    # Rings of equal width in |q|, but never of fewer than RING_PIXELS.
    bounds = np.unique(np.maximum(np.arange(rings + 1) ** 2 * order.size // rings**2, 0))
    sorted_q, sorted_power = q.ravel()[order], power.ravel()[order]
    tiny = np.finfo(float).tiny + 1e-14 * float(power.max())
    log_q = np.log(sorted_q)
    log_floor = np.zeros(order.size)
    centres = np.array([log_q[i:j].mean() for i, j in pairwise(bounds)])
    # A steep spectrum varies within a ring; the second pass measures what the first left over.
    for _ in range(3):
        ratio = sorted_power * np.exp(-log_floor)
        medians = [float(np.median(ratio[i:j])) for i, j in pairwise(bounds)]
        log_floor += _interpolate(log_q, centres, np.log(np.maximum(medians, tiny) * _MEDIAN_TO_MEAN))
    # Every frequency, kept or not, from the curve through the rings.
    wanted = np.maximum(q, sorted_q[0])
    first = np.unique(log_q, return_index=True)[1]
    return np.asarray(np.exp(np.interp(np.log(wanted), log_q[first], log_floor[first])))


def _interpolate(x: np.ndarray, nodes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Piecewise linear, continued below the first node with the slope beside it."""
    result = np.interp(x, nodes, values)
    slope = (values[1] - values[0]) / (nodes[1] - nodes[0])
    below = x < nodes[0]
    # Real spectra flatten towards the field of view, so the slope never exceeds that of iDPC power, q⁻².
    result[below] = values[0] + np.clip(slope, -2.0, 0.0) * (x[below] - nodes[0])
    return np.asarray(result)


def _axis_floor(power: np.ndarray) -> np.ndarray:
    """Noise on the Fourier axes, where scan-line jitter and image borders pile up: running medians."""
    floor = np.zeros_like(power)
    columns = slice(0, 2)
    floor[:, columns] = median_filter(power[:, columns], size=(AXIS_WINDOW, 1), mode="wrap")
    for row in (-1, 0, 1):
        floor[row] = np.maximum(floor[row], median_filter(power[row], size=AXIS_WINDOW, mode="reflect"))
    return np.asarray(floor * _MEDIAN_TO_MEAN)


def _dilated(significant: np.ndarray) -> np.ndarray:
    """Grow each reflection to the aperture; the half plane continues through its conjugate."""
    reach = int(np.ceil(APERTURE))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    # Negative columns are the point mirror of the positive ones.
    mirrored = np.roll(significant[::-1], 1, axis=0)[:, 1 : reach + 1][:, ::-1]
    padded = np.concatenate([mirrored, significant], axis=1)
    padded = np.concatenate([padded[-reach:], padded, padded[:reach]], axis=0)
    grown = binary_dilation(padded, structure=np.hypot(y, x) <= APERTURE)
    return np.asarray(grown[reach:-reach, mirrored.shape[1] :])
