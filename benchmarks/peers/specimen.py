"""What all competitors are given: one noisy image, and what a person would read off it before starting a tool."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from scipy.ndimage import convolve1d

from benchmarks.columns import separation, true_columns
from library.store import Library
from microscopy.micrograph import Micrograph
from microscopy.simulation import Truth

_FINEST = np.array([1 - np.sqrt(3), np.sqrt(3) - 3, 3 + np.sqrt(3), -1 - np.sqrt(3)]) / np.sqrt(32)
"""High-pass filter of the second Daubechies wavelet, unit norm."""

_MEDIAN_OF_NORMAL = 0.6745
"""Median of |x| for a standard normal x."""


@dataclass(frozen=True, eq=False)
class Specimen:
    """One image of a benchmark, and what it is compared with.

    Attributes
    ----------
    id
        Of the image, for tables.
    micrograph
        Noisy, with a pixel size; its ``elements`` and ``formula`` are what the user knows.
    reference
        The same image without noise, shape (H, W).
    truth
        What it shows.
    library
        Searched by the competitor that needs templates.
    """

    id: str
    micrograph: Micrograph
    reference: Float[np.ndarray, "H W"]
    truth: Truth
    library: Library

    @property
    def pixel_size(self) -> tuple[float, float]:
        """(y, x) in Å."""
        assert self.micrograph.pixel_size is not None
        return self.micrograph.pixel_size

    @cached_property
    def separation(self) -> float:
        """Å between the closest columns, from the truth: a person measures it on the image."""
        return separation(true_columns(self.truth), self.truth.cell)

    @cached_property
    def noise(self) -> float:
        """What users take for the standard deviation of the noise, see `white_noise`."""
        return white_noise(self.micrograph.image)

    @cached_property
    def key(self) -> str:
        """Name of its files: of the content, so that another image is never taken for this one."""
        state = hashlib.sha256(np.ascontiguousarray(self.micrograph.image).data)
        state.update(repr((self.pixel_size, self.separation, self.noise)).encode())
        return state.hexdigest()[:20]


def white_noise(image: Float[np.ndarray, "H W"]) -> float:
    """Standard deviation of white noise, from the median of the finest diagonal wavelet coefficients.

    Donoho and Johnstone, Biometrika 81 (1994) 425. The noise of iDPC images is not white but falls with q: this is its
    level at the finest scale, far below that at others.
    """
    details = np.asarray(image, dtype=float)
    for axis in (0, 1):
        details = convolve1d(details, _FINEST, axis=axis)
    return float(np.median(np.abs(details))) / _MEDIAN_OF_NORMAL
