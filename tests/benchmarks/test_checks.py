from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.checks import FEWEST, area, main, table


def sample(fit: float, success: bool, **checks: float) -> dict[str, object]:
    return {"checks": {"fit": fit, **checks}, "success": success}


def test_the_area_is_how_often_a_right_answer_has_more_merit() -> None:
    right = np.array([True, True, False, False])
    assert area(np.array([3.0, 2.0, 1.0, 0.0]), right) == 1.0
    assert area(np.array([0.0, 1.0, 2.0, 3.0]), right) == 0.0
    assert area(np.ones(4), right) == 0.5


def test_rates_are_of_right_and_wrong_answers_apart() -> None:
    samples = [sample(0.99, True)] * 9 + [sample(0.5, True)] + [sample(0.6, False)] * 3 + [sample(0.98, False)] * 2
    (row,) = table(samples).cells
    assert row[0] == "fit"
    assert row[2] == "10 / 5"
    assert row[4] == "10.0%"
    assert row[5] == "60%"


def test_a_limit_from_above_counts_what_lies_above() -> None:
    samples = [sample(1.0, True, residual=1.0)] * FEWEST + [sample(1.0, False, residual=9.0)] * FEWEST
    found = {row[0]: row for row in table(samples).cells}
    assert found["residual"][3] == "1.000"
    assert (found["residual"][4], found["residual"][5]) == ("0.0%", "100%")


def test_a_check_that_was_hardly_made_has_no_row() -> None:
    samples = [sample(0.99, True)] * FEWEST + [sample(0.5, False)] * FEWEST + [sample(0.9, True, energy=0.1)]
    assert [row[0] for row in table(samples).cells] == ["fit"]


def test_the_command_reads_what_the_calibration_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [{"id": "a", "samples": [sample(0.99, True)] * 5}, {"id": "b", "samples": [sample(0.4, False)] * 5}]
    file = tmp_path / "checks.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main([str(file)]) == 0
    assert "5 right and 5 wrong answers, 2 materials" in capsys.readouterr().out
