from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows.doctor import imports
from flows.doctor.finding import State
from flows.doctor.imports import Probed, gpu, imported, probe


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    return tmp_path


def test_each_import_is_told_of(modules: Path) -> None:
    (modules / "talks.py").write_text("print('{not an answer}')")
    (modules / "raises.py").write_text("raise TypeError('no argument min_items')")
    (modules / "leaves.py").write_text("raise SystemExit(3)")
    probed = probe(["talks", "raises", "missing_module", "leaves", "json"])
    assert probed.crash == ""
    assert list(probed.errors) == ["talks", "raises", "missing_module", "leaves", "json"]
    assert probed.errors["talks"] is None
    assert probed.errors["raises"] == "TypeError: no argument min_items"
    assert "ModuleNotFoundError" in str(probed.errors["missing_module"])
    assert "SystemExit" in str(probed.errors["leaves"])
    assert probed.errors["json"] is None


def test_a_module_that_kills_the_process_is_named(modules: Path) -> None:
    (modules / "kills.py").write_text("import os, sys; print('illegal instruction', file=sys.stderr); os._exit(132)")
    found = imported("science", ["json", "kills", "csv"], probe(["json", "kills", "csv"]))
    assert found.state is State.BROKEN
    assert found.text.startswith("kills kills Python at import")
    assert "illegal instruction" in found.text


@pytest.mark.parametrize(("load", "state"), [(0.0, "warning"), (1e6, "skipped")])
def test_a_module_that_hangs_is_named(load: float, state: str, modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (load, load, load))
    (modules / "hangs.py").write_text("import time; time.sleep(60)")
    found = imported("science", ["json", "hangs"], probe(["json", "hangs"], limit=1.0))
    assert found.state == state
    assert "hangs" in found.text


def test_a_file_in_the_current_folder_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trojan.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    assert "ModuleNotFoundError" in str(probe(["trojan"]).errors["trojan"])


def test_a_failed_import_is_broken_and_mattersim_s_a_warning() -> None:
    fine = dict.fromkeys(imports.SCIENCE)
    assert imported("science", imports.SCIENCE, Probed({**fine})).state is State.OK
    bad = imported("science", imports.SCIENCE, Probed({**fine, "sevenn.calculator": "RuntimeError: torchvision::nms"}))
    assert bad.state is State.BROKEN
    assert "torchvision::nms" in bad.text
    spare = imported("science", imports.SCIENCE, Probed({**fine, "mattersim.forcefield": "ModuleNotFoundError: …"}))
    assert spare.state is State.WARNING
    assert spare.remedy == "pip install --no-deps mattersim"
    both = imported("science", imports.SCIENCE, Probed({**fine, "mattersim.forcefield": "x", "torch": "y"}))
    assert both.state is State.BROKEN


def test_gpus_are_named_and_one_that_torch_does_not_see_is_told_of(tmp_path: Path) -> None:
    driver = tmp_path / "version"
    assert gpu(Probed({}, None), driver).state is State.SKIPPED
    assert "processor" in gpu(Probed({}, []), driver).text
    assert gpu(Probed({}, [{"name": "A100", "bytes": 80 * 2**30}]), driver).text == "A100, 80 GiB"
    driver.touch()
    assert gpu(Probed({}, []), driver).state is State.WARNING
