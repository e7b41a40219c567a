"""A confidence that means what it says has no error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.reliability import calibration_error, chance_error, reliability


def test_a_calibrated_forecast_has_no_error():
    right = [True] * 7 + [False] * 3
    assert calibration_error(np.full(10, 0.7), right) == pytest.approx(0.0)
    assert calibration_error(np.full(10, 0.95), right) == pytest.approx(0.25)


def test_bins_hold_every_answer_once_and_certainty_has_a_bin():
    curve = reliability([0.0, 0.05, 0.5, 1.0], [False, True, True, True])
    assert [each.count for each in curve] == [2, 1, 1]
    assert curve[0].right == 0.5
    assert curve[-1].confidence == 1.0


def test_chance_alone_makes_an_error_that_many_answers_average_out():
    assert chance_error([1.0, 0.0, 1.0]) == 0.0
    # One answer of confidence p is off by 1 - p with probability p, and by p else.
    assert chance_error([0.3]) == pytest.approx(2 * 0.3 * 0.7, abs=0.03)
    assert chance_error([0.3] * 400) < 0.03


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=40))
def test_the_error_is_a_mean_distance_of_probabilities(answers):
    confidence, right = [p for p, _ in answers], [y for _, y in answers]
    assert 0.0 <= calibration_error(confidence, right) <= 1.0
    assert sum(each.count for each in reliability(confidence, right)) == len(answers)
    for each in reliability(confidence, right):
        assert each.interval[0] - 1e-9 <= each.right <= each.interval[1] + 1e-9
