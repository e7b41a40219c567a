from __future__ import annotations

import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from flows.doctor import folders
from flows.doctor.finding import State

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def _room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 100 * folders.GIB))


def test_a_cache_that_is_still_to_be_made_is_fine_and_not_made(cache: Path) -> None:
    assert folders.cache().state is State.OK
    assert folders.results().state is State.OK
    assert not cache.exists()


def test_looking_leaves_nothing_behind(cache: Path) -> None:
    cache.mkdir()
    assert folders.cache().state is State.OK
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(("free", "state"), [(6.0, "ok"), (2.0, "warning"), (0.2, "broken")])
def test_a_full_disk(free: float, state: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, int(free * folders.GIB)))
    found = folders.cache()
    assert found.state == state
    assert state == "ok" or "AUTOMAT_CACHE" in found.remedy


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o757])
def test_results_that_others_could_write_are_broken(mode: int, cache: Path) -> None:
    results = cache / "results"
    results.mkdir(parents=True)
    results.chmod(mode)
    found = folders.results()
    assert found.state is State.BROKEN
    assert f"chmod o-w {results}" in found.remedy


def test_a_folder_above_that_lets_others_replace_it_is_broken_unless_it_is_sticky(cache: Path) -> None:
    (cache / "results").mkdir(parents=True)
    cache.chmod(0o1777)
    assert folders.exposure(cache / "results") is None
    cache.chmod(0o777)
    assert folders.exposure(cache / "results") == cache


def test_a_cache_that_others_could_write_is_told_of_once(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir()
    cache.chmod(0o777)
    (cache / "results").mkdir()
    assert folders.cache().state is State.OK
    assert folders.results().state is State.BROKEN
    monkeypatch.setenv("PREFECT_RESULTS_LOCAL_STORAGE_PATH", str(tmp_path / "elsewhere"))
    assert folders.cache().state is State.BROKEN
    assert folders.results().state is State.OK


def test_the_users_own_place_for_results_counts(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_RESULTS_LOCAL_STORAGE_PATH", str(tmp_path / "elsewhere"))
    assert str(tmp_path / "elsewhere") in folders.results().text


def test_results_of_another_user_are_told_of(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = cache / "results"
    results.mkdir(parents=True)
    if os.getuid() == 0:
        os.chown(results, 12345, -1)
    else:
        monkeypatch.setattr("os.getuid", lambda: 12345)
    found = folders.results()
    assert found.state is State.WARNING
    assert "belongs to user" in found.text


def test_a_file_in_the_place_of_a_folder_is_broken(cache: Path) -> None:
    cache.write_text("")
    assert "is no folder" in folders.cache().text


def test_a_folder_that_cannot_be_written_is_broken(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    found = folders.temporary()
    assert found.state is State.BROKEN
    assert "Read-only file system" in found.text


def test_everybody_may_write_temporary_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert folders.temporary().state is State.OK
