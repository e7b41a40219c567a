"""A watcher that is killed at any line of a pass: nothing is lost, nothing is done twice."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
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
    for name in FILES[:3]:
        lab.drop(name, name.encode())
    lab.look()
    lab.look()
    lab.settings = replace(lab.settings, backoff=0.0)
    first, second, _ = lab.runs.all()
    lab.drop(FILES[3], b"complete")
    lab.drop("d.toml", b"dose = 1e4")
    lab.look(1)
    lab.work(first)
    lab.runs.put(second, RunState.CRASHED)
    lab.drop(FILES[4], b"just come")
    lab.drop("copy.tif", b"a.tif")
    return lab


def trace_of(lab: Lab, kill_at: int | None) -> list[str]:
    """Make a pass in a child that notes its lines, or kills itself at one of them; the lines, none of a killed one."""
    notes = lab.root.parent / "lines"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, from Python 3.12 on
        child = os.fork()
    if not child:
        lines = []

        def line(frame: FrameType, event: str, _: Any) -> Any:
            if not frame.f_code.co_filename.startswith(PACKAGE):
                return None
            if event == "line":
                lines.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
                if len(lines) == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
            return line

        try:
            sys.settrace(line)
            lab.look(5)
            sys.settrace(None)
            notes.write_text("\n".join(lines))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return notes.read_text().splitlines() if notes.exists() else []


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


def moments(folder: Path) -> list[int]:
    """When each line of the package runs for the first and for the last time in a pass."""
    lab = prepared(folder)
    lines = trace_of(lab, None)
    check(lab)
    first = {line: number for number, line in reversed(list(enumerate(lines, start=1)))}
    last = {line: number for number, line in enumerate(lines, start=1)}
    assert len(first) > 150
    return sorted({*first.values(), *last.values()})


def killed_at(folder: Path, moment: int) -> bool:
    """Whether the pass got that far: the order in a folder, and with it the number of lines, is not always the same."""
    lab = prepared(folder)
    killed = not trace_of(lab, moment)
    check(lab)
    shutil.rmtree(folder)
    return killed


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: what is killed here is a process, not the machine."""
    with TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path) as folder:
        yield Path(folder)


def test_killed_here_and_there(memory: Path) -> None:
    every = moments(memory / "whole")
    chosen = every[:: len(every) // 6]
    assert all(killed_at(memory / str(moment), moment) for moment in chosen[:-1])
    killed_at(memory / "last", chosen[-1])


@pytest.mark.slow
def test_killed_at_every_line(memory: Path) -> None:
    every = moments(memory / "whole")
    assert sum(killed_at(memory / str(moment), moment) for moment in every) > 0.9 * len(every)
