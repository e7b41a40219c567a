from __future__ import annotations

from pathlib import Path

import pytest
import small_mattersim

from models.potentials import Potential, load_potential


@pytest.fixture(scope="session")
def tiny_mattersim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real MatterSim checkpoint, too small to know any physics but its symmetries."""
    return small_mattersim.save(tmp_path_factory.mktemp("weights") / "tiny.pth")


@pytest.fixture
def tiny(tiny_mattersim: Path) -> Potential:
    return load_potential(str(tiny_mattersim))


@pytest.fixture(scope="session")
def sevennet() -> Potential:
    return load_potential("sevennet-0")


@pytest.fixture
def cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of one test's own."""
    monkeypatch.setenv("AUTOMAT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
