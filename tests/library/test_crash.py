"""A writer may die at any moment: the library opens, whole, and is the old one or the new one."""

import multiprocessing
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from library_folders import entries

from library import appending, preparing
from library.build import add_entries, build_from_entries
from library.folder import verify
from library.store import Library
from microscopy.errors import LibraryError
from microscopy.micrograph import Modality

MODALITIES = (Modality.IDPC,)
KILLS = 20


def build(folder: Path, count: int) -> None:
    """Replace a library, with an index."""
    preparing.BATCH, appending.EXACT = 16, 20
    build_from_entries(entries(count, 40), folder, MODALITIES, {"command": "test"}, None)


def add(folder: Path, count: int) -> None:
    """Add to a library so much that its parts are joined and its index is made again."""
    preparing.BATCH, appending.EXACT = 16, 20
    add_entries(entries(count, 40), folder, {"command": "test"})


@pytest.fixture
def old(tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "BATCH", preparing.BATCH)
    monkeypatch.setattr(appending, "EXACT", appending.EXACT)
    build_from_entries(entries(12), tmp_path / "old", MODALITIES, {"command": "test"}, None)
    return tmp_path / "old"


def state(folder: Path) -> tuple[int, str]:
    verify(folder)
    library = Library.open(folder)
    return len(library), library.digest


class Died(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("work", [build, add])
def test_death_at_each_rename(work, old, tmp_path, monkeypatch):
    new = shutil.copytree(old, tmp_path / "new")
    work(new, 24)
    states = {state(old), state(new)}
    replace = Path.replace
    left = 0

    def dying(self, target):
        nonlocal left
        left -= 1
        if left == 0:
            raise Died
        return replace(self, target)

    for step in range(1, 100):
        folder = shutil.copytree(old, tmp_path / f"at-{step}")
        left = step
        monkeypatch.setattr(Path, "replace", dying)
        try:
            work(folder, 24)
        except Died:
            monkeypatch.setattr(Path, "replace", replace)
            assert state(folder) in states
            work(folder, 24)
            assert state(folder) == state(new)
            assert {p.name for p in folder.iterdir()} == {p.name for p in new.iterdir()}
        else:
            monkeypatch.setattr(Path, "replace", replace)
            break
    assert step > 5


def test_death_before_anything_was_there(tmp_path, monkeypatch):
    def dying(self, target):
        raise Died

    monkeypatch.setattr(Path, "replace", dying)
    with pytest.raises(Died):
        build_from_entries(entries(3), tmp_path / "lib", MODALITIES, {}, None)
    monkeypatch.undo()
    with pytest.raises(LibraryError, match="unfinished"):
        Library.open(tmp_path / "lib")
    build_from_entries(entries(3), tmp_path / "lib", MODALITIES, {}, None)
    assert state(tmp_path / "lib")[0] == 3


@pytest.mark.slow
@pytest.mark.parametrize("work", [build, add])
def test_sigkill_at_random_moments(work, old, tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["library.build", "library_folders"])
    new = shutil.copytree(old, tmp_path / "new")
    once = context.Process(target=work, args=(shutil.copytree(old, tmp_path / "warm"), 60))
    once.start()
    once.join()
    began = time.monotonic()
    whole = context.Process(target=work, args=(new, 60))
    whole.start()
    whole.join()
    seconds = time.monotonic() - began
    before, after = state(old), state(new)
    assert before != after
    seen = []
    for number, moment in enumerate(np.random.default_rng(20).uniform(0, seconds, KILLS)):
        folder = shutil.copytree(old, tmp_path / f"kill-{number}")
        process = context.Process(target=work, args=(folder, 60))
        process.start()
        time.sleep(moment)
        # Somebody else reads all the while.
        assert len(Library.open(folder)) in (before[0], after[0])
        process.kill()  # SIGKILL; nothing if it has just finished
        process.join()
        seen.append(state(folder))
        assert seen[-1] in (before, after)
        work(folder, 60)
        assert state(folder) == after
    assert before in seen
