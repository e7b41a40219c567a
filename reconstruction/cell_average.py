"""The average unit cell of an image: every pixel folded to its fractional position in the cell."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import ndimage

from microscopy.errors import ReconstructionError

BLOCK = 1 << 19
"""Pixels folded at a time; bounds the memory of a large image."""
PRIOR_COUNT = 10.0
"""Weight, in samples, of the image-wide variance in the variance of one bin, which alone is too noisy to use."""


def cell_average(
    image: Float32[np.ndarray, "H W"],
    pixel_size: tuple[float, float],
    cell: Float[np.ndarray, "2 2"],
    shift: Float[np.ndarray, " 2"],
    grid: tuple[int, int],
    mask: Bool[np.ndarray, "H W"] | None = None,
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """Average an image over its unit cells.

    Each pixel is shared between the four nearest points of the periodic grid (bilinear weights). That multiplies the
    Fourier coefficient of order (k, l) by sinc²(k/w)·sinc²(l/h): choose a grid several times finer than the detail.

    Parameters
    ----------
    image
        Shape (H, W). Pixel (i, j) has its centre at x = j·pixel_size[1], y = i·pixel_size[0].
    pixel_size
        (y, x) in Å.
    cell
        Rows a, b as (x, y) in Å; either handedness.
    shift
        Position of the fractional origin in the image, (x, y) in Å.
    grid
        (h, w): points along b and along a. Point (r, c) lies at fractional (u, v) = (c / w, r / h).
    mask
        True where a pixel is to be believed.

    Returns
    -------
    mean
        Shape (h, w), units of the image. Points without samples are filled from their neighbours.
    standard_error
        Of the mean if the noise of samples is independent, shape (h, w); infinite at points without samples.
    count
        Effective number of samples of each point, (Σw)²/Σw², shape (h, w).

    Raises
    ------
    ReconstructionError
        If the cell is degenerate or no pixel is left.
    """
    h, w = grid
    area = float(np.linalg.det(cell))
    if abs(area) < 1e-6 or h < 1 or w < 1:
        raise ReconstructionError(
            f"unit cell {np.round(cell, 3).tolist()} on a grid of {h} x {w} cannot be averaged over"
        )
    rows, columns = image.shape
    to_frac = np.linalg.inv(cell)
    # Grid coordinates are affine in the pixel indices: columns of ``step`` are the change per column and per row.
    scale = np.array([w, h], dtype=float)
    per_column = pixel_size[1] * to_frac[0] * scale
    per_row = pixel_size[0] * to_frac[1] * scale
    origin = -np.asarray(shift, dtype=float) @ to_frac * scale
    offset = float(np.mean(image)) if mask is None else float(np.mean(image[mask])) if mask.any() else 0.0
    sums = np.zeros((4, h * w))
    j = np.arange(columns)
    lines = max(1, BLOCK // columns)
    for start in range(0, rows, lines):
        i = np.arange(start, min(start + lines, rows))
        u = (origin[0] + per_row[0] * i[:, None] + per_column[0] * j).ravel()
        v = (origin[1] + per_row[1] * i[:, None] + per_column[1] * j).ravel()
        value = image[start : start + lines].ravel().astype(float) - offset
        if mask is not None:
            keep = mask[start : start + lines].ravel()
            u, v, value = u[keep], v[keep], value[keep]
        _splat(sums, u, v, value, h, w)
    weight, weight_squared, first, second = sums.reshape(4, h, w)
    if not weight.any():
        raise ReconstructionError("no pixel is left to average; the mask covers the whole image")
    # A point with less than a hundredth of a sample carries round-off, not data.
    filled = weight > 0.01
    safe = np.where(filled, weight, 1.0)
    mean = np.where(filled, first / safe, 0.0)
    scatter = np.where(filled, second - first * mean, 0.0)
    pooled = float(scatter.sum() / max(weight[filled].sum() - (weight_squared[filled] / weight[filled]).sum(), 1e-9))
    variance = (scatter + PRIOR_COUNT * pooled) / (safe + PRIOR_COUNT)
    count = np.where(filled, weight**2 / np.where(filled, weight_squared, 1.0), 0.0)
    error = np.full((h, w), np.inf)
    error[filled] = np.sqrt(np.maximum(variance[filled], 0.0) / count[filled])
    mean = _fill(mean, filled) + offset
    return mean.astype(np.float32), error.astype(np.float32), count.astype(np.float32)


def _splat(sums: np.ndarray, u: np.ndarray, v: np.ndarray, value: np.ndarray, h: int, w: int) -> None:
    """Add Σw, Σw², Σw·I and Σw·I² of a block of samples at grid coordinates (u, v) to ``sums``."""
    column, row = np.floor(u), np.floor(v)
    du, dv = u - column, v - row
    left = column.astype(np.int64) % w
    top = row.astype(np.int64) % h
    right = left + 1
    right[right == w] = 0
    below = top + 1
    below[below == h] = 0
    top *= w
    below *= w
    squared = value * value
    for index, weight in (
        (top + left, (1 - du) * (1 - dv)),
        (top + right, du * (1 - dv)),
        (below + left, (1 - du) * dv),
        (below + right, du * dv),
    ):
        sums[0] += np.bincount(index, weight, h * w)
        sums[1] += np.bincount(index, weight * weight, h * w)
        sums[2] += np.bincount(index, weight * value, h * w)
        sums[3] += np.bincount(index, weight * squared, h * w)


def _fill(mean: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """Normalised convolution of ever wider reach into points without samples (cell commensurate with the pixels)."""
    sigma = 1.0
    while not filled.all():
        weight = ndimage.gaussian_filter(filled.astype(float), sigma, mode="wrap", truncate=3.0)
        smooth = ndimage.gaussian_filter(np.where(filled, mean, 0.0), sigma, mode="wrap", truncate=3.0)
        reached = ~filled & (weight > 1e-3)
        mean = np.where(reached, smooth / np.where(reached, weight, 1.0), mean)
        filled = filled | reached
        sigma *= 2.0
    return mean
