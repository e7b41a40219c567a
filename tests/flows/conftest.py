from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import canned
import fake_run
import numpy as np
import pytest
from canned import Science


@pytest.fixture
def science(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[Science]:
    from prefect.settings import PREFECT_RESULTS_LOCAL_STORAGE_PATH, temporary_settings

    fake = canned.install(monkeypatch)
    with temporary_settings({PREFECT_RESULTS_LOCAL_STORAGE_PATH: cache / "results"}):
        yield fake


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "flake 07.npy"
    np.save(path, fake_run.micrograph().image)
    return path
