import numpy as np
import pytest

from microscopy.errors import SimulationError
from microscopy.noise import poisson_counts


def test_mean_and_variance_are_the_expected_count():
    fractions = np.full((3, 200, 150), 0.24)
    fractions[1] = 0.003
    counts = poisson_counts(fractions, dose=2e4, pixel_area=0.012, rng=np.random.default_rng(1))
    expected = fractions[:, 0, 0] * 240
    samples = fractions[0].size
    np.testing.assert_allclose(counts.mean(axis=(1, 2)), expected, atol=4 * np.sqrt(expected.max() / samples))
    np.testing.assert_allclose(counts.var(axis=(1, 2)), expected, rtol=0.05)


def test_counts_are_whole_and_undershoot_is_not_an_error():
    counts = poisson_counts(np.array([-1e-9, 0.0, 0.5]), 100.0, 1.0, np.random.default_rng(0))
    assert counts[0] == counts[1] == 0
    assert counts[2] == round(counts[2]) > 0


def test_same_seed_same_counts():
    draws = [poisson_counts(np.full(50, 0.3), 1e3, 0.01, np.random.default_rng(seed)) for seed in (4, 4, 5)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()


@pytest.mark.parametrize(("dose", "area"), [(0.0, 0.01), (-1.0, 0.01), (np.nan, 0.01), (np.inf, 0.01), (1e4, 0.0)])
def test_impossible_dose_is_refused(dose, area):
    with pytest.raises(SimulationError, match="must be positive"):
        poisson_counts(np.full(2, 0.1), dose, area, np.random.default_rng(0))
