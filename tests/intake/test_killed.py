"""A watcher that is killed at any line of a pass: nothing is lost, nothing is done twice."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from lab import Lab

import intake
from intake.passing import RunState

PACKAGE = str(Path(intake.__file__).parent)
FILES = [f"{name}.tif" for name in "abcde"]


def prepared(folder: Path) -> Lab:
    """A folder in which the next pass has a bit of everything to do."""
    folder.mkdir()
    lab = Lab(folder)
    lab.settings = replace(lab.settings, in_flight=3)
    for name in FILES[:3]:
        lab.drop(name, name.encode())
    lab.look()
    lab.look()
    first, second, _ = lab.runs.all()
    lab.work(first)
    lab.runs.put(second, RunState.CRASHED)
    lab.drop(FILES[3], b"complete")
    lab.settings = replace(lab.settings, settle=3.0)
    lab.look(1)  # the first of them is done from here on
    second = next(run for run in lab.runs.all() if run.endswith("-0-0") and run not in lab.runs.open() and run != first)
    lab.drop(FILES[4], b"just come")
    (lab.root / "copy.tif").write_bytes(b"a.tif")
    return lab


def lines_of(lab: Lab, kill_at: int | None) -> int:
    """Make a pass in a child that counts its lines, and kills itself at one of them; the count, or 0 if killed."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, from Python 3.12 on
        child = os.fork()
    if not child:
        count = 0

        def line(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal count
            if not frame.f_code.co_filename.startswith(PACKAGE):
                return None
            if event == "line":
                count += 1
                if count == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
            return line

        try:
            sys.settrace(line)
            lab.look(5)
            sys.settrace(None)
            os.write(write, str(count).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    told = os.read(read, 100)
    os.close(read)
    return int(told or 0)


def check(lab: Lab) -> None:
    """Go on as if nothing had happened."""
    lab.now += 5
    lab.finish_everything()
    contents = lab.contents()
    assert {name: content.state.value for name, content in contents.items()} == dict.fromkeys(FILES, "done")
    assert sorted(lab.completed) == sorted(content.key for content in contents.values())
    keys = [run.rpartition("-")[0] for run in lab.runs.all()]
    assert len(keys) == len(FILES) + 1  # one was lost once
    assert len(set(keys)) == len(FILES)


def total(folder: Path) -> int:
    lab = prepared(folder)
    lines = lines_of(lab, None)
    assert lines > 500
    check(lab)
    return lines


def killed_at(folder: Path, line: int) -> None:
    lab = prepared(folder)
    assert not lines_of(lab, line)
    check(lab)


def test_killed_here_and_there(tmp_path: Path) -> None:
    lines = total(tmp_path / "whole")
    for line in range(1, lines, lines // 6):
        killed_at(tmp_path / str(line), line)


@pytest.mark.slow
def test_killed_at_every_line(tmp_path: Path) -> None:
    for line in range(1, total(tmp_path / "whole")):
        killed_at(tmp_path / str(line), line)
