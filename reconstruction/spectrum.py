r"""The Fourier view of a micrograph: coefficients at any spatial frequency, and the noise they carry.

A tapered window w keeps the edges of the field of view from leaking into the reflections:

.. math:: c(G) = \frac{\sum_x w(x)\,(I(x) - \bar I)\, e^{-2\pi i G\cdot x}}{\sum_x w(x)} .

The noise power is measured from the image itself, between its reflections, as a function of q = |G|: iDPC
noise grows towards low q because integration divides by q.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import scipy.fft
from jaxtyping import Complex, Float
from scipy.signal import windows

from microscopy.errors import ReconstructionError
from microscopy.micrograph import Micrograph
from microscopy.optics import Optics

COEFFICIENT_TAPER = 0.25
"""Tapered share of the window that measures coefficients: little is lost of the field of view."""

NOISE_QUANTILE = 0.3
"""Quantile of the power in a ring of q that is taken for noise; reflections fill less than the rest."""

RINGS = 96

MAX_SIDE = 2048
"""Pixels along each axis that are analysed, in the middle of larger images: thousands of cells say all there is to
say of a lattice, and memory stays bounded."""

OVERSAMPLING = 2
KERNEL = 8
KERNEL_BETA = 2.34 * KERNEL
"""Interpolation of the Fourier transform: grid factor, points of the kernel along each axis, and its shape."""

SMOOTHING = 0.2
"""Width in log q of the kernel that smooths the noise: a power law passes unchanged."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A windowed image, ready to be asked for Fourier coefficients.

    Attributes
    ----------
    image
        Window times (image − mean), masked pixels zero; shape (H, W).
    pixel_size
        (y, x) in Å.
    start
        Position (y, x) in Å of the first pixel in the whole image.
    weight
        Sum of the window over believed pixels.
    energy
        Sum of the window's squares: uncorrelated noise of variance s² in a pixel gives a coefficient s²·energy/weight².
    ring_q, ring_noise
        Noise power of a coefficient (variance of its modulus) on rings of q (1/Å), shape (R,).
    """

    image: Float[np.ndarray, "H W"]
    pixel_size: tuple[float, float]
    start: tuple[float, float]
    weight: float
    energy: float
    ring_q: Float[np.ndarray, " R"]
    ring_noise: Float[np.ndarray, " R"]

    def noise(self, q: Float[np.ndarray, " K"]) -> Float[np.ndarray, " K"]:
        """Variance of a coefficient at spatial frequency q (1/Å) if there were no crystal."""
        return np.exp(np.interp(q, self.ring_q, np.log(self.ring_noise)))

    def density(self, q: Float[np.ndarray, " K"]) -> Float[np.ndarray, " K"]:
        """Noise power per pixel at spatial frequency q (1/Å): its variance if the noise were white."""
        return self.noise(q) * self.weight**2 / self.energy

    def coefficients(self, g: Float[np.ndarray, "K 2"]) -> Complex[np.ndarray, " K"]:
        """Coefficients at any spatial frequencies g = (gx, gy) in 1/Å, to a relative error of 1e-6.

        Read from one oversampled Fourier transform with a Kaiser-Bessel kernel (Fessler and Sutton, IEEE Trans. Signal
        Process. 51 (2003) 560), so that thousands of frequencies cost milliseconds.
        """
        grid = self._oversampled
        rows, row_weights = _kernel(g[:, 1] * self.pixel_size[0] * grid.shape[0], grid.shape[0])
        columns, column_weights = _kernel(g[:, 0] * self.pixel_size[1] * grid.shape[1], grid.shape[1])
        values = grid[rows[:, :, None], columns[:, None, :]]
        centre = np.array([n // 2 for n in self.image.shape]) * self.pixel_size + self.start
        phase = np.exp(-2j * np.pi * g @ centre[::-1])
        return np.einsum("kij,ki,kj->k", values, row_weights, column_weights) * phase / self.weight

    def gradients(self, g: Float[np.ndarray, "K 2"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coefficients with first and second derivatives by g about the window's centre.

        Returns c (K,), dc/dg (K, 2) and d²c/dg² (K, 2, 2); used to find a peak's position to second order.
        """
        x, y = self._x - self._x.mean(), self._y - self._y.mean()
        rows = np.exp(-2j * np.pi * np.outer(g[:, 1], y))
        columns = np.exp(-2j * np.pi * np.outer(g[:, 0], x))
        image = self.image.astype(complex)
        moments = [(rows * (-2j * np.pi * y) ** n) @ image for n in range(3)]
        powers = [columns * (-2j * np.pi * x) ** n for n in range(3)]

        def moment(nx: int, ny: int) -> np.ndarray:
            return np.einsum("kw,kw->k", moments[ny], powers[nx]) / self.weight

        c = moment(0, 0)
        first = np.stack([moment(1, 0), moment(0, 1)], axis=1)
        cross = moment(1, 1)
        second = np.stack([np.stack([moment(2, 0), cross], axis=1), np.stack([cross, moment(0, 2)], axis=1)], axis=1)
        return c, first, second

    @cached_property
    def _oversampled(self) -> np.ndarray:
        """Fourier transform about the centre on a grid finer by ``OVERSAMPLING``, the kernel's own divided out."""
        shape = self.image.shape
        size = tuple(scipy.fft.next_fast_len(OVERSAMPLING * n) for n in shape)
        taper = [_kernel_transform((np.arange(n) - n // 2) / m) for n, m in zip(shape, size, strict=True)]
        padded = np.zeros(size)
        padded[: shape[0], : shape[1]] = self.image / np.outer(*taper)
        return np.asarray(scipy.fft.fft2(np.roll(padded, [-(n // 2) for n in shape], axis=(0, 1))))

    @cached_property
    def _x(self) -> np.ndarray:
        return np.arange(self.image.shape[1]) * self.pixel_size[1] + self.start[1]

    @cached_property
    def _y(self) -> np.ndarray:
        return np.arange(self.image.shape[0]) * self.pixel_size[0] + self.start[0]

    @property
    def extent(self) -> float:
        """Shorter side of the field of view in Å."""
        return float(min(self.image.shape[0] * self.pixel_size[0], self.image.shape[1] * self.pixel_size[1]))


def _kernel(position: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Grid points around each position, shape (K, KERNEL), wrapped, and the kernel's weights there."""
    points = np.ceil(position - KERNEL / 2).astype(int)[:, None] + np.arange(KERNEL)
    t = 1 - (2 * (position[:, None] - points) / KERNEL) ** 2
    return points % length, np.where(t >= 0, np.i0(KERNEL_BETA * np.sqrt(np.maximum(t, 0))), 0.0)


def _kernel_transform(x: np.ndarray) -> np.ndarray:
    """Fourier transform of the kernel at x, in pixels of the image over points of the grid."""
    z = np.sqrt(KERNEL_BETA**2 - (np.pi * KERNEL * x) ** 2 + 0j)
    return np.real(KERNEL * np.sinh(z) / z)


def pixel_size(micrograph: Micrograph) -> tuple[float, float]:
    """Pixel size (y, x) in Å, which everything after ingestion needs.

    Raises
    ------
    ReconstructionError
        If the micrograph has none.
    """
    if micrograph.pixel_size is None:
        raise ReconstructionError(f"{micrograph.source}: no pixel size; give it with --pixel-size")
    return micrograph.pixel_size


def highest_frequency(micrograph: Micrograph) -> float:
    """Highest spatial frequency in 1/Å that both the optics and the pixels of a micrograph pass."""
    return min(Optics.of(micrograph).cutoff, 0.98 * 0.5 / max(pixel_size(micrograph)))


def spectrum(micrograph: Micrograph, q_max: float) -> Spectrum:
    """Window a micrograph and measure its noise up to q_max (1/Å).

    Raises
    ------
    ReconstructionError
        If the micrograph has no pixel size.
    """
    return windowed(micrograph, "tukey", q_max)


def windowed(micrograph: Micrograph, kind: str, q_max: float) -> Spectrum:
    """Apply a separable window, see ``_window``, and measure the noise."""
    size = pixel_size(micrograph)
    first = [max(0, (side - MAX_SIDE) // 2) for side in micrograph.image.shape]
    middle = tuple(slice(begin, begin + MAX_SIDE) for begin in first)
    image = micrograph.image[middle].astype(np.float64)
    height, width = image.shape
    window = np.outer(_window(kind, height), _window(kind, width))
    if micrograph.mask is not None:
        window = window * micrograph.mask[middle]
    weight, energy = float(window.sum()), float((window**2).sum())
    image = (image - float((image * window).sum()) / weight) * window
    power = np.abs(scipy.fft.rfft2(image)) ** 2 / weight**2
    gy = np.fft.fftfreq(height, size[0])
    gx = np.fft.rfftfreq(width, size[1])
    q = np.hypot(gx[None, :], gy[:, None])
    nyquist = 0.5 / max(size)
    ring_q, ring_noise = _radial_noise(q, power, min(q_max, nyquist))
    return Spectrum(image, size, (first[0] * size[0], first[1] * size[1]), weight, energy, ring_q, ring_noise)


def _window(kind: str, length: int) -> np.ndarray:
    """``"tukey"`` measures coefficients; ``"blackman"`` finds weak peaks beside strong ones, ``"half"`` weak ones."""
    match kind:
        case "tukey":
            return np.asarray(windows.tukey(length, COEFFICIENT_TAPER))
        case "half":
            return np.asarray(windows.tukey(length, 0.5))
        case "blackman":
            return np.asarray(windows.blackman(length))
    raise ValueError(f"unknown window {kind!r}")


def _radial_noise(q: np.ndarray, power: np.ndarray, q_max: float) -> tuple[np.ndarray, np.ndarray]:
    """Noise power against q: a low quantile of the power in each ring, which for noise is exponential."""
    inside = (q > 0) & (q <= q_max)
    ring = np.minimum((q[inside] / q_max * RINGS).astype(int), RINGS - 1)
    order = np.argsort(ring, kind="stable")
    values, q_sorted = power[inside][order], q[inside][order]
    edges = np.searchsorted(ring[order], np.arange(RINGS + 1))
    ring_q, ring_noise, counts = [], [], []
    for start, stop in pairwise(edges):
        if stop - start >= 4:
            ring_q.append(float(q_sorted[start:stop].mean()))
            ring_noise.append(float(np.quantile(values[start:stop], NOISE_QUANTILE)) / -np.log1p(-NOISE_QUANTILE))
            counts.append(stop - start)
    noise = np.array(ring_noise)
    noise = np.maximum(noise, max(float(noise.max(initial=0.0)) * 1e-12, np.finfo(float).tiny))
    return np.array(ring_q), np.exp(_smooth(np.log(ring_q), np.log(noise), np.array(counts, dtype=float)))


def _smooth(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Local linear regression of y on x with a Gaussian kernel: rings of few pixels borrow from their neighbours."""
    delta = x[None, :] - x[:, None]
    kernel = np.exp(-0.5 * (delta / SMOOTHING) ** 2) * weights
    s0, s1, s2 = (kernel.sum(axis=1), (kernel * delta).sum(axis=1), (kernel * delta**2).sum(axis=1))
    t0, t1 = kernel @ y, (kernel * delta) @ y
    spread = s0 * s2 - s1**2
    flat = spread < 1e-9 * s0**2
    return np.where(flat, t0 / s0, (s2 * t0 - s1 * t1) / np.where(flat, 1.0, spread))
