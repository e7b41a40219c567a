import numpy as np
import pytest

from benchmarks.calibration import ARTEFACTS, CALIBRATION, DOSES, condition, fit
from benchmarks.materials import Material


def test_the_model_follows_what_decides():
    rng = np.random.default_rng(0)
    lines = []
    for material in range(40):
        for _ in range(10):
            misfit, noise = rng.uniform(0, 1), rng.normal()
            right = bool(rng.uniform() < 1 / (1 + np.exp(12 * (misfit - 0.5))))
            lines.append({"id": str(material), "features": {"misfit": misfit, "noise": noise}, "success": right})
    model = fit(lines)
    assert model["samples"] == 400
    assert model["weights"]["misfit"] == pytest.approx(-12, rel=0.3)
    assert abs(model["weights"]["noise"]) < 0.5
    assert model["cross_validated"]["expected_calibration_error"] < 0.06


def test_conditions_are_drawn_once_and_within_bounds():
    material = Material("m", None, None)  # type: ignore[arg-type]
    drawn = [condition(material, number, 3) for number in range(200)]
    assert [case.to_json() for case, *_ in drawn] == [
        condition(material, number, 3)[0].to_json() for number in range(200)
    ]
    for case, _, _ in drawn:
        assert DOSES[0] <= case.dose <= DOSES[1]
        for name, strength in case.artefacts.items():
            low, high = ARTEFACTS.get(name, (-CALIBRATION, CALIBRATION))
            assert low <= strength <= high
    assert 0.3 < np.mean([bool(set(case.artefacts) - {"calibration"}) for case, *_ in drawn]) < 0.7
    assert 0.4 < np.mean([withheld for *_, withheld in drawn]) < 0.6
