from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import fake_run
import numpy as np
import pytest
from canned import Science

from library import store as library_store
from microscopy import readers
from models import denoising, formation, potentials
from planning import verify
from reconstruction import reconstruct, retrieval
from reporting import overlay, report


@pytest.fixture
def science(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[Science]:
    from prefect.settings import PREFECT_RESULTS_LOCAL_STORAGE_PATH, temporary_settings

    fake = Science()
    monkeypatch.setattr(readers, "read_micrograph", fake.read)
    monkeypatch.setattr(denoising, "denoise", fake.denoise)
    monkeypatch.setattr(denoising, "digest", lambda options: f"{fake.weights}/{options.expert}")
    monkeypatch.setattr(retrieval, "retrieve", fake.retrieve)
    monkeypatch.setattr(reconstruct, "reconstruct", fake.reconstruct)
    monkeypatch.setattr(formation, "relax", fake.relax)
    monkeypatch.setattr(verify, "verify", fake.verify)
    monkeypatch.setattr(library_store, "open_libraries", lambda _: SimpleNamespace(digest=fake.library))
    monkeypatch.setattr(
        potentials,
        "load_potential",
        lambda name=None: SimpleNamespace(name=name or "SevenNet-0", checkpoint=fake.checkpoint, fallback=""),
    )
    monkeypatch.setattr(overlay, "overlay_png", lambda *_, **__: b"png")
    monkeypatch.setattr(report, "render_report", lambda result, **_: f"<p>{result.image.path}</p>")
    with temporary_settings({PREFECT_RESULTS_LOCAL_STORAGE_PATH: cache / "results"}):
        yield fake


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "flake 07.npy"
    np.save(path, fake_run.micrograph().image)
    return path
