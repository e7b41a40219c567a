from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest
from json_server import Answer, serving

NOW = 1_700_000_000.0


@pytest.fixture(scope="module")
def health(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("health", root / "deployments" / "health.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sign(cache: Path, name: str, age: float) -> None:
    path = cache / "workers" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    os.utime(path, (NOW - age, NOW - age))


def test_a_server_that_answers_is_well(health: ModuleType) -> None:
    with serving(lambda _, request: Answer(True, 200 if request.path == "/api/health" else 404)) as running:
        assert health.server(f"{running.url}/api")
        assert not health.server(running.url)


def test_a_server_that_is_away_is_not(health: ModuleType) -> None:
    assert not health.server("http://127.0.0.1:9/api")


def test_a_worker_is_well_as_long_as_it_leaves_signs(health: ModuleType, tmp_path: Path) -> None:
    assert not health.worker(tmp_path, "c0ffee", NOW)
    sign(tmp_path, "c0ffee-7-automat-flow", age=300)
    assert not health.worker(tmp_path, "c0ffee", NOW)
    sign(tmp_path, "c0ffee-8-automat-flow", age=10)
    assert health.worker(tmp_path, "c0ffee", NOW)


def test_signs_of_other_containers_do_not_count(health: ModuleType, tmp_path: Path) -> None:
    sign(tmp_path, "c0ffee1-7-automat-flow", age=0)
    assert not health.worker(tmp_path, "c0ffee", NOW)
    assert not health.worker(tmp_path, "*", NOW)


def test_exit_code_is_what_docker_expects(health: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOMAT_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.gethostname", lambda: "c0ffee")
    monkeypatch.setattr("time.time", lambda: NOW)
    assert health.main("worker") == 1
    sign(tmp_path, "c0ffee-1-automat-gpu", age=1)
    assert health.main("worker") == 0
    assert health.main("worker", "watch-drop") == 1
    sign(tmp_path, "watch-drop-automat-watch", age=1)
    assert health.main("worker", "watch-drop") == 0
