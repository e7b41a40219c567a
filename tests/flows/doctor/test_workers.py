from __future__ import annotations

import json
from pathlib import Path

from flows.doctor.finding import State
from flows.doctor.workers import signs

NOW = 1_800_000_000.0


def sign(folder: Path, name: str, age: float) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({"pid": 1, "pool": "automat-gpu", "queues": [], "at": NOW - age}))


def test_none_is_nothing_to_look_at(cache: Path) -> None:
    assert signs().state is State.SKIPPED


def test_signs_of_life_are_judged_by_their_age(tmp_path: Path) -> None:
    sign(tmp_path, "gpu-1", 3)
    assert signs(tmp_path, NOW).state is State.OK
    sign(tmp_path, "flow-1", 600)
    found = signs(tmp_path, NOW)
    assert found.state is State.WARNING
    assert "1 of 2" in found.text
    assert "flow-1: for 10 min" in found.text


def test_a_sign_that_is_being_written_is_as_old_as_its_file(tmp_path: Path) -> None:
    path = tmp_path / "gpu-1.json"
    path.write_text("")
    assert signs(tmp_path, path.stat().st_mtime + 5).state is State.OK
