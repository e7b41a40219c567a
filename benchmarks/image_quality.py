"""How close a denoised image is to the noise-free one: to the eye, and to a crystallographer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.signal.windows import hann
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from library.fingerprint import nodes

BORDER = 16
"""Pixels along each edge that are not compared: every tool has its own idea of what lies beyond the edge."""

Q_MAX = 2.0
"""1/Å. Structure factors beyond carry next to nothing at 300 kV and 21 mrad."""


@dataclass(frozen=True)
class ImageQuality:
    """A denoised image against the noise-free one, away from the edges.

    Attributes
    ----------
    psnr
        Peak signal-to-noise ratio in dB, the peak being the range of the noise-free image.
    ssim
        Mean structural similarity.
    structure_factor_error
        Rms difference of the complex Fourier coefficients at the true reciprocal nodes over their rms; phases count.
    """

    psnr: float
    ssim: float
    structure_factor_error: float


def quality(
    image: Float[np.ndarray, "H W"],
    reference: Float[np.ndarray, "H W"],
    pixel_size: tuple[float, float],
    cell: Float[np.ndarray, "2 2"],
) -> ImageQuality:
    """Compare an image with the noise-free one.

    Tools return units of their own: both images are compared without their means, and the image is scaled to the
    reference by least squares; so are, on their own, its structure factors. That scale also shrinks a noisy image,
    which flatters it: an image of noise alone has the PSNR of a flat one and a structure factor error of one.

    Parameters
    ----------
    image, reference
        Denoised and noise-free.
    pixel_size
        (y, x) in Å.
    cell
        Rows a, b of the crystal as they appear, (x, y) in Å.

    Raises
    ------
    ValueError
        If the images differ in shape.
    """
    if image.shape != reference.shape:
        raise ValueError(f"shape {image.shape}, not {reference.shape} as the recorded image")
    inner = (slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    truth = _centred(reference[inner])
    seen = _scaled(_centred(image[inner]), truth)
    span = float(np.ptp(truth))
    with np.errstate(divide="ignore"):  # identical images have no noise
        psnr = float(peak_signal_noise_ratio(truth, seen, data_range=span))
    expected, measured = (structure_factors(each, pixel_size, cell) for each in (truth, seen))
    return ImageQuality(
        psnr=psnr,
        ssim=float(structural_similarity(truth, seen, data_range=span)),
        structure_factor_error=float(np.linalg.norm(_scaled(measured, expected) - expected) / np.linalg.norm(expected)),
    )


def structure_factors(
    image: Float[np.ndarray, "H W"], pixel_size: tuple[float, float], cell: Float[np.ndarray, "2 2"]
) -> np.ndarray:
    """Fourier coefficients of an image at the reciprocal nodes of a cell up to `Q_MAX`, one of each Friedel pair.

    A Hann window keeps the edges from leaking into them.
    """
    g = nodes(cell, Q_MAX) @ np.linalg.inv(cell).T
    height, width = image.shape
    down, across = hann(height, sym=False), hann(width, sym=False)
    rows = np.exp(-2j * np.pi * np.outer(g[:, 1], np.arange(height) * pixel_size[0])) * down
    columns = np.exp(-2j * np.pi * np.outer(g[:, 0], np.arange(width) * pixel_size[1])) * across
    return np.einsum("kw,kw->k", rows @ image, columns) / (down.sum() * across.sum())


def _centred(image: np.ndarray) -> np.ndarray:
    values = np.asarray(image, dtype=float)
    return values - values.mean()


def _scaled(values: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Values times the real factor that brings them closest to what is expected."""
    power = float(np.vdot(values, values).real)
    return values * (float(np.vdot(values, expected).real) / max(power, np.finfo(float).tiny))
