from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest

from flows import room
from flows.settings import SettingsError, load_settings


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(room.logger, "propagate", True)
    caplog.set_level(logging.INFO, "automat")
    return caplog


def record(cache: Path, name: str, days: float) -> Path:
    path = cache / "records" / "Denoised" / "aa" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 3000)
    then = time.time() - days * 86400
    os.utime(path, (then, then))
    return path


def test_the_cache_is_kept_within_its_limit_from_the_start(cache: Path, heard: pytest.LogCaptureFixture) -> None:
    old, young = record(cache, "1.npz", 5), record(cache, "2.npz", 3)
    room.keep_within(young.stat().st_blocks * 512)
    end = time.monotonic() + 20
    while old.exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert not old.exists()
    assert young.exists()


def test_what_cannot_be_kept_within_the_limit_is_told(cache: Path, heard: pytest.LogCaptureFixture) -> None:
    record(cache, "1.npz", 0)
    room.look(1)
    (told,) = heard.messages
    assert "what was used within a day stays" in told


def test_without_a_limit_nothing_is_removed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room.threading, "Thread", None)
    room.keep_within(0)


def test_the_limit_is_a_setting(tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    file.write_text('cache_limit = "50GB"\n')
    settings = load_settings(file, {})
    assert settings.cache_limit == 50e9
    assert load_settings(None, settings.model_dump(mode="json")).cache_limit == 50e9
    assert load_settings(None, {}).cache_limit == 20e9
    file.write_text('cache_limit = "much"\n')
    with pytest.raises(SettingsError, match="cache_limit"):
        load_settings(file, {})
