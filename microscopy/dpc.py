"""Differential phase contrast: from the segments of a detector to the phase of the specimen.

A thin specimen of projected phase φ (rad) deflects the beam in proportion to ∇φ, so the centre of mass of the
diffraction pattern, in 1/Å, is ∇φ / 2π averaged over the probe. A detector of four annular quadrants estimates it from
the difference of opposite quadrants (Lazić, Bosch & Lazar, Ultramicroscopy 160 (2016) 265).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import fft

from microscopy.optics import Optics

DIRECTIONS = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
"""Unit vectors (x, y) of the four quadrant centres, in the order in which segments are stored."""


def lever(optics: Optics) -> float:
    """Mean spatial frequency of the detector segments, 1/Å: what one electron more in a quadrant counts for."""
    return float(np.mean(optics.angles)) * 1e-3 / optics.wavelength


def phase_gradient(
    segments: Float[np.ndarray, "4 *points"], optics: Optics
) -> tuple[Float[np.ndarray, "*points"], Float[np.ndarray, "*points"]]:
    """Estimate ∇φ from the four quadrant signals.

    Parameters
    ----------
    segments
        Collected fraction of the beam in the quadrants centred on +x, +y, -x, -y, shape (4, ...).
    optics
        Its collection angles set the scale.

    Returns
    -------
    tuple
        (∂φ/∂x, ∂φ/∂y) in rad/Å, up to the transfer of the detector, in the frame of the quadrants.
    """
    # An electron in a quadrant of opening 90° lies, on average, sin(45°)/45° of the radius along the quadrant's axis.
    scale = 2 * np.pi * lever(optics) * np.sin(np.pi / 4) / (np.pi / 4)
    return scale * (segments[0] - segments[2]), scale * (segments[1] - segments[3])


def integrate_gradient(
    gradient_x: Float[np.ndarray, "H W"], gradient_y: Float[np.ndarray, "H W"], pixel_size: tuple[float, float]
) -> Float[np.ndarray, "H W"]:
    """Integrate a gradient field over the field of view.

    The least-squares solution of ∇φ = g is, in Fourier space, φ(q) = -i q·g(q) / (2π |q|²) with q in 1/Å. A field of
    view is not periodic, and a plain FFT would join opposite edges: the jump there rings through the image and any net
    slope is lost. So φ is taken as mirrored at the edges, which makes the basis cosines (and sines for the component
    of g across each edge); slopes survive, and no padding is needed. A constant deflection (descan, detector offset)
    is not a property of the specimen and is removed first.

    Parameters
    ----------
    gradient_x, gradient_y
        Components along columns and rows, per Å, shape (H, W).
    pixel_size
        (y, x) in Å.

    Returns
    -------
    ndarray
        φ of zero mean, shape (H, W), float64.
    """
    height, width = gradient_x.shape
    qx = np.pi * np.arange(width) / (width * pixel_size[1])
    qy = (np.pi * np.arange(height) / (height * pixel_size[0]))[:, None]
    norm = qx**2 + qy**2
    norm[0, 0] = 1.0  # the mean of φ is not measurable; its numerator vanishes
    along_x = _sine(gradient_x - gradient_x.mean(), axis=1)
    along_y = _sine(gradient_y - gradient_y.mean(), axis=0)
    return np.asarray(fft.idctn(-(qx * along_x + qy * along_y) / norm, type=2), dtype=np.float64)


def _sine(values: np.ndarray, axis: int) -> np.ndarray:
    """Coefficients of sin(πk(n+½)/N) along ``axis``, cosines along the other, k starting at zero in both."""
    transformed = fft.dst(fft.dct(np.asarray(values, dtype=np.float64), type=2, axis=1 - axis), type=2, axis=axis)
    # scipy's sine transform starts at k = 1; its last term has no cosine partner.
    shifted = np.roll(transformed, 1, axis=axis)
    shifted[(slice(None), 0) if axis == 1 else (0, slice(None))] = 0.0
    return np.asarray(shifted)
