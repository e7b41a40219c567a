"""The statistics of the suites, as pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from models.denoising.spectrum import frequencies

_MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

RESAMPLES = 500


def mean_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error; the error of a single value is not a number."""
    array = np.asarray(values, dtype=float)
    error = float(array.std(ddof=1) / np.sqrt(len(array))) if len(array) > 1 else float("nan")
    return float(array.mean()) if len(array) else float("nan"), error


def wins(positive: Sequence[float] | np.ndarray, negative: Sequence[float] | np.ndarray) -> float:
    """Number of pairs in which the positive one is larger, ties counting half (Mann and Whitney 1947)."""
    first = np.asarray(positive, dtype=float)
    ranks = rankdata(np.concatenate([first, np.asarray(negative, dtype=float)]))
    return float(ranks[: len(first)].sum() - len(first) * (len(first) + 1) / 2)


def area_under_curve(strata: Sequence[tuple[float, int]]) -> float:
    """ROC AUC over strata: pairs won over pairs, only pairs of the same stratum being compared.

    Parameters
    ----------
    strata
        Of each, what `wins` returns and the number of pairs.
    """
    pairs = sum(count for _, count in strata)
    return sum(won for won, _ in strata) / pairs if pairs else float("nan")


def clustered_error(clusters: Mapping[str, Sequence[tuple[float, int]]], seed: int = 0) -> float:
    """Standard error of `area_under_curve` over strata that come in clusters (materials), by bootstrap of clusters."""
    sums = np.array([(sum(w for w, _ in each), sum(n for _, n in each)) for each in clusters.values()], dtype=float)
    sums = sums[sums[:, 1] > 0] if len(sums) else sums
    if len(sums) < 2:
        return float("nan")
    drawn = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
    won, pairs = sums[drawn].sum(axis=1).T
    return float(np.std(won / pairs, ddof=1))


def windowed_power(
    image: Float[np.ndarray, "H W"], pixel_size: tuple[float, float]
) -> tuple[Float[np.ndarray, "H K"], Float[np.ndarray, "H K"]]:
    """Spatial frequency (1/Å for a pixel in Å) and power of an image under a Hann window, on the grid of ``rfft2``.

    The mean power of white noise is its variance.
    """
    height, width = image.shape
    window = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[None, 1:-1]
    power = np.abs(np.fft.rfft2((image - image.mean(dtype=float)) * window)) ** 2 / np.sum(window**2)
    return frequencies((height, width), pixel_size), power


def standardised(values: Float[np.ndarray, " N"], reference: Float[np.ndarray, " M"]) -> Float[np.ndarray, " N"]:
    """Values in robust standard deviations from the median of a reference."""
    middle = np.median(reference)
    spread = _MAD_TO_SIGMA * float(np.median(np.abs(reference - middle)))
    return np.asarray((values - middle) / max(spread, np.finfo(np.float32).tiny))
