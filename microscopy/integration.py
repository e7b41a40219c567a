"""From a differential phase contrast (DPC) vector image to its integral, iDPC."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32
from scipy.fft import dct, dst, idctn

CURL_LIMIT = 0.5
"""Share of a DPC signal that is no gradient: one half for pure noise, more when the detector axes are turned."""


def integrate_dpc(
    gradient_y: Float[np.ndarray, "H W"],
    gradient_x: Float[np.ndarray, "H W"],
    pixel_size: tuple[float, float] = (1.0, 1.0),
) -> tuple[Float32[np.ndarray, "H W"], float]:
    """Least-squares integral of a vector image, with free (not periodic) edges.

    The minimiser of |∇φ - g|² is, for every spatial frequency, φ = -(κ·G) / κ² (Frankot and Chellappa,
    IEEE PAMI 10, 439 (1988); for iDPC: Lazić et al., Ultramicroscopy 160, 265 (2016)). Expanding φ in cosines and g
    in the matching sines makes the image its own mirror at the edges, so that opposite edges need not agree.

    Parameters
    ----------
    gradient_y, gradient_x
        The vector along rows (+y down) and columns (+x), shape (H, W); its mean (descan) is removed.
    pixel_size
        (y, x) in any one unit.

    Returns
    -------
    image
        φ, shape (H, W), zero mean, in units of the gradient times that of the pixel size.
    curl
        Share of the energy of g, between 0 and 1, that no φ can explain.
    """
    gy = np.asarray(gradient_y, dtype=np.float64)
    gx = np.asarray(gradient_x, dtype=np.float64)
    gy, gx = gy - gy.mean(), gx - gx.mean()
    height, width = gy.shape
    ky = np.pi * np.arange(height)[:, None] / (height * pixel_size[0])
    kx = np.pi * np.arange(width)[None, :] / (width * pixel_size[1])
    sine_y = _sine(dct(gy, axis=1), axis=0)
    sine_x = _sine(dct(gx, axis=0), axis=1)
    k2 = ky**2 + kx**2
    k2[0, 0] = 1.0
    phi = -(ky * sine_y + kx * sine_x) / k2
    phi[0, 0] = 0.0
    total = float(np.sum(sine_y**2) + np.sum(sine_x**2))
    rest = float(np.sum((sine_y + ky * phi) ** 2) + np.sum((sine_x + kx * phi) ** 2))
    return idctn(phi).astype(np.float32), rest / total if total > 0 else 0.0


def _sine(values: np.ndarray, axis: int) -> np.ndarray:
    """Sine transform with index 0 … N - 1, as the cosine transform has; scipy's starts at 1."""
    out = np.zeros_like(values)
    spectrum = dst(values, type=2, axis=axis)
    if axis == 0:
        out[1:] = spectrum[:-1]
    else:
        out[:, 1:] = spectrum[:, :-1]
    return out
