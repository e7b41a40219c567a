from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from flows.doctor import science
from library.store import EMBEDDED
from models.divaesr.manifest import SHIPPED
from models.potentials import load_potential


def flip(path: Path) -> None:
    """Change the last byte of a file and keep its size."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_what_comes_with_the_project_is_well(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # MatterSim's own folder is in it
    assert science.denoiser().state == "ok"
    (library,) = science.libraries()
    assert library.state == "ok"
    assert "templates, as they were written" in library.text
    potential, references = science.potential()
    assert potential.state == references.state == "ok"
    assert "MatterSim's weights are not on this machine" in potential.text
    assert "come with AutoMat" in references.text


def test_a_changed_byte_of_the_denoiser_is_broken(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(SHIPPED, folder)
    flip(folder / "gate.safetensors")
    found = science.denoiser(folder)
    assert found.state == "broken"
    assert "gate altered" in found.text
    (folder / "gate.safetensors").unlink()
    assert science.denoiser(folder).state == "broken"
    (folder / "manifest.json").write_text("[]")
    assert science.denoiser(folder).state == "broken"


def test_libraries_that_are_damaged_or_none_are_broken(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(EMBEDDED, folder)
    assert science.libraries([folder])[1].state == "ok"
    flip(next(folder.glob("templates-*.arrow")))
    embedded, mine, missing = science.libraries([folder, tmp_path / "missing"])
    assert embedded.state == "ok"
    assert (mine.name, mine.state) == ("library mine", "broken")
    assert missing.state == "broken"
    assert "automat library build" in missing.remedy


def test_a_large_library_is_not_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(science, "READ_WHOLE", 10)
    (found,) = science.libraries()
    assert "sizes checked" in found.text
    assert "automat library verify" in found.text


@pytest.mark.parametrize("wanted", ["no-such-potential", "missing.pth", "mattersim-v1.0.0-5m"])
def test_a_potential_that_is_not_here_is_broken(
    wanted: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (found,) = science.potential(wanted)
    assert found.state == "broken"
    assert found.remedy


def test_a_checkpoint_that_the_environment_names_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOMAT_MATTERSIM_CHECKPOINT", "/missing.pth")
    (found,) = science.potential()
    assert "AUTOMAT_MATTERSIM_CHECKPOINT=/missing.pth" in found.text


def test_weights_that_are_not_those_of_the_wheel_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    altered = replace(load_potential("sevennet-l3i5"), checkpoint="0" * 64)
    monkeypatch.setattr("models.potentials.load_potential", lambda wanted: altered)
    found, references = science.potential()
    assert found.state == "broken"
    assert "altered" in found.text
    assert "--force-reinstall --no-deps sevenn" in found.remedy
    assert references.state == "warning"


def test_references_that_a_run_would_have_to_make_are_told_of(cache: Path) -> None:
    own = replace(load_potential("sevennet-0"), checkpoint="1" * 64, name="mine", elements=frozenset({"Mo", "S"}))
    found = science.references(own)
    assert found.state == "warning"
    assert "0 of 2 elements" in found.text
    assert "automat references build --potential mine" in found.remedy
    folder = cache / "references" / "v1" / own.checkpoint
    folder.mkdir(parents=True)
    for element in ("Mo", "S"):
        (folder / f"{element}.json").write_text(json.dumps({}))
    assert science.references(own).state == "ok"
