from __future__ import annotations

import pytest

from microscopy.calibration import Axis, angstroms, calibrate, calibration_notices


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("nm", 10), ("pm", 0.01), ("Å", 1), ("\u212b", 1), ("A", 1), ("Angstrom", 1), ("µm", 1e4), ("\u03bcm", 1e4),
        ("um", 1e4), ("micron", 1e4), ("\\u00B5m", 1e4), ("\\u00C5", 1), ("m", 1e10), ("mm", 1e7), (" nm\x00", 10),
    ],
)  # fmt: skip
def test_one_length_in_many_spellings(unit: str, expected: float) -> None:
    assert angstroms(unit) == expected


@pytest.mark.parametrize("unit", ["1/nm", "nm^-1", "nm⁻¹", "1 / m", "mrad", "deg", "eV", "keV", "s", "ms"])
def test_other_quantities_mark_an_axis_that_is_not_in_the_image_plane(unit: str) -> None:
    assert angstroms(unit) is None
    assert calibrate(Axis(64, 0.1, unit), Axis(64, 0.1, unit)).reciprocal
    assert calibrate(Axis(64, 0.1, "nm"), Axis(64, 0.1, unit)).reciprocal


@pytest.mark.parametrize("unit", ["", "px", "pixels", "inch", "cm", "None", "undefined", "µn"])
def test_anything_else_is_no_calibration(unit: str) -> None:
    calibration = calibrate(Axis(64, 0.1, unit), Axis(64, 0.1, unit))
    assert calibration.pixel_size is None
    assert not calibration.reciprocal


def test_silence_is_no_problem_but_a_lost_unit_is() -> None:
    assert calibrate(Axis(64), Axis(64)).problem is None
    assert calibrate(Axis(64, 1.0), Axis(64, 1.0)).problem is None
    assert "0.02 has no unit" in (calibrate(Axis(64, 0.02), Axis(64, 0.02)).problem or "")


def test_each_axis_keeps_its_own_unit() -> None:
    assert calibrate(Axis(64, 20, "pm"), Axis(96, 0.03, "nm")).pixel_size == pytest.approx((0.2, 0.3))


@pytest.mark.parametrize("scale", [0.0, -0.1, float("nan"), float("inf"), None])
def test_impossible_steps(scale: float | None) -> None:
    calibration = calibrate(Axis(64, scale, "nm"), Axis(64, 0.1, "nm"))
    assert calibration.pixel_size is None
    assert "not positive" in (calibration.problem or "")


def test_notices() -> None:
    assert calibration_notices((0.2, 0.2005)) == ()
    assert "not square" in calibration_notices((0.2, 0.202))[0]
    assert "too coarse" in calibration_notices((3.0, 3.0))[0]
