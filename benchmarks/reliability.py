"""Whether a confidence means what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.metrics import wilson

BINS = 10

DRAWS = 300
"""Outcomes that are drawn to say what chance does."""


@dataclass(frozen=True)
class Bin:
    """Answers of similar confidence: how many, their mean confidence, and the share that is right with its interval."""

    count: int
    confidence: float
    right: float
    interval: tuple[float, float]


def reliability(confidence: Sequence[float], right: Sequence[bool], bins: int = BINS) -> list[Bin]:
    """Reliability curve over bins of equal width; empty bins are left out."""
    p, y = np.asarray(confidence, dtype=float), np.asarray(right, dtype=bool)
    which = np.minimum((p * bins).astype(int), bins - 1)
    found = []
    for k in range(bins):
        inside = which == k
        n = int(inside.sum())
        if n:
            found.append(Bin(n, float(p[inside].mean()), float(y[inside].mean()), wilson(int(y[inside].sum()), n)))
    return found


def calibration_error(confidence: Sequence[float], right: Sequence[bool], bins: int = BINS) -> float:
    """Expected calibration error: mean distance of confidence and accuracy over the bins, weighted by their share."""
    curve = reliability(confidence, right, bins)
    total = sum(each.count for each in curve)
    return sum(each.count * abs(each.confidence - each.right) for each in curve) / total if total else 0.0


def chance_error(confidence: Sequence[float], draws: int = DRAWS, bins: int = BINS) -> float:
    """Calibration error that so many answers show on average if every confidence is true: few answers never match."""
    p = np.asarray(confidence, dtype=float)
    right = np.random.default_rng(0).random((draws, len(p))) < p
    return float(np.mean([calibration_error(p, each, bins) for each in right]))
