from __future__ import annotations

from pathlib import Path

import pytest
import small_mattersim


@pytest.fixture(scope="session")
def tiny_mattersim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real MatterSim checkpoint, too small to know any physics but its symmetries."""
    return small_mattersim.save(tmp_path_factory.mktemp("weights") / "tiny.pth")
