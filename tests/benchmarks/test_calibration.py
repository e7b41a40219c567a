import numpy as np
import pytest

from benchmarks.calibration import fit


def test_the_model_follows_what_decides():
    rng = np.random.default_rng(0)
    lines = []
    for material in range(40):
        for _ in range(10):
            misfit, noise = rng.uniform(0, 1), rng.normal()
            right = bool(rng.uniform() < 1 / (1 + np.exp(12 * (misfit - 0.5))))
            lines.append({"id": str(material), "features": {"misfit": misfit, "noise": noise}, "success": right})
        lines.append({"id": str(material)})  # no answer, nothing to be confident of
    model = fit(lines)
    assert model["samples"] == 400
    assert model["weights"]["misfit"] == pytest.approx(-12, rel=0.3)
    assert abs(model["weights"]["noise"]) < 0.5
    assert model["cross_validated"]["expected_calibration_error"] < 0.06
