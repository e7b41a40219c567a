import numpy as np
import pytest

from benchmarks.calibration import ARTEFACTS, CALIBRATION, DOSES, condition, fit
from benchmarks.materials import Material


def sample(material: str, image: int, features: dict[str, float], right: bool) -> dict[str, object]:
    """An attempt; of ten images three belong to regimes I and III each, two to II and IV."""
    return {
        "id": material,
        "case": [material, image],
        "given": image % 10 < 6,
        "withheld": bool(image % 2),
        "features": features,
        "success": right,
    }


def test_the_model_follows_what_decides():
    rng = np.random.default_rng(0)
    lines = []
    for material in range(40):
        for image in range(10):
            misfit, noise = rng.uniform(0, 1), rng.normal()
            right = bool(rng.uniform() < 1 / (1 + np.exp(12 * (misfit - 0.5))))
            lines.append(sample(f"{material}", image, {"misfit": misfit, "noise": noise}, right))
    model = fit(lines)
    assert model["samples"] == 400
    assert model["weights"]["misfit"] == pytest.approx(-12, rel=0.3)
    assert abs(model["weights"]["noise"]) < 0.5
    answers = model["cross_validated"]["answers"]
    assert answers["images"] == 400
    assert answers["expected_calibration_error"] < 0.06
    assert {name: model["cross_validated"][name]["images"] for name in ("I", "II", "III", "IV")} == {
        "I": 120,
        "II": 80,
        "III": 120,
        "IV": 80,
    }


def test_an_image_weighs_the_same_however_often_it_was_tried():
    """One image of each material is right; the other is wrong, nine times over."""
    lines = []
    for material in range(20):
        lines.append(sample(str(material), 0, {"constant": 1.0}, True))
        lines += [sample(str(material), 1, {"constant": 1.0}, False)] * 9
    assert fit(lines)["cross_validated"]["answers"]["mean_confidence"] == pytest.approx(0.5, abs=0.01)


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
