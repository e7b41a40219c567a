from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from benchmarks.denoiser.statistics import area_under_curve, clustered_error, mean_error, standardised, wins


def test_wins_count_ties_half() -> None:
    assert wins([2.0, 1.0], [1.0, 0.0]) == 3.5


def test_auc_of_shifted_normals() -> None:
    """Normal scores d apart have an AUC of Φ(d / √2)."""
    rng = np.random.default_rng(0)
    positive, negative = rng.normal(1.5, size=3000), rng.normal(size=3000)
    expected = norm.cdf(1.5 / np.sqrt(2))
    assert area_under_curve([(wins(positive, negative), 9_000_000)]) == pytest.approx(expected, abs=0.01)


def test_strata_are_never_compared_with_one_another() -> None:
    """Perfect within each stratum, though the strata's scores are worlds apart."""
    strata = [(wins([level + 1.0], [level, level]), 2) for level in (0.0, 100.0)]
    assert area_under_curve(strata) == 1
    assert wins([1.0, 101.0], [0.0, 0.0, 100.0, 100.0]) < 8


def test_no_pairs_have_no_auc() -> None:
    assert np.isnan(area_under_curve([]))


def test_mean_error_is_that_of_the_mean() -> None:
    assert mean_error([1.0, 3.0]) == (2.0, pytest.approx(1.0))
    assert np.isnan(mean_error([1.0])[1])


def test_error_grows_with_the_spread_of_clusters() -> None:
    alike = {str(k): [(80.0 + k, 100)] for k in range(3)}
    unlike = {str(k): [(50.0 + 25 * k, 100)] for k in range(3)}
    assert 0 < clustered_error(alike) < clustered_error(unlike)
    assert np.isnan(clustered_error({"one": [(1.0, 2)]}))


def test_standardised_ignores_outliers_of_the_reference() -> None:
    reference = np.concatenate([np.random.default_rng(1).normal(5, 2, size=2000), np.full(40, 1e6)])
    assert standardised(np.array([9.0]), reference)[0] == pytest.approx(2, abs=0.15)
