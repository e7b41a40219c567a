"""Whatever happens in whatever order: in the end every content is done once, and the ledger says so."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from lab import Lab, digest

from intake import passing
from intake.passing import RunState
from intake.records import State

NAMES = st.sampled_from(["a.tif", "b.tif", "sub/a.tif", "sub/c.tif"])
CONTENTS = st.sampled_from([b"one", b"two", b"three"])


class Killed(BaseException):
    """What no handler catches."""


@contextmanager
def killed_at(moment: int) -> Iterator[None]:
    """Die at the n-th line of the pass itself: what is below cannot clean up as the end of a process does."""
    count = 0

    def line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if frame.f_code.co_filename != passing.__file__:
            return None
        count += event == "line"
        if count == moment:
            raise Killed
        return line

    before = sys.gettrace()
    sys.settrace(line)
    try:
        yield
    except Killed:
        pass
    finally:
        sys.settrace(before)


class Watched(RuleBasedStateMachine):
    """People, workers, servers and accidents."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.lab = Lab(self.folder)
        self.met: set[str] = set()

    @rule(name=NAMES, content=CONTENTS, age=st.sampled_from([0.0, 100.0]))
    def drop(self, name: str, content: bytes, age: float) -> None:
        self.lab.drop(name, content, age=age)

    @rule(name=NAMES, other=NAMES, move=st.booleans())
    def copy(self, name: str, other: str, move: bool) -> None:
        old, new = self.lab.root / name, self.lab.root / other
        if old.exists() and old != new:
            new.parent.mkdir(exist_ok=True)
            shutil.copy2(old, new)
            if move:
                old.unlink()

    @rule(name=NAMES)
    def grow(self, name: str) -> None:
        path = self.lab.root / name
        if path.exists():
            with path.open("ab") as stream:
                stream.write(b"+")
            os.utime(path, (self.lab.now, self.lab.now))

    @rule(seconds=st.sampled_from([1.0, 6.0, 30.0, 500.0]))
    def look(self, seconds: float) -> None:
        self.lab.look(seconds)

    @rule(seconds=st.sampled_from([6.0, 30.0]), moment=st.integers(1, 150))
    def look_and_die(self, seconds: float, moment: int) -> None:
        with killed_at(moment):
            self.lab.look(seconds)

    @rule(number=st.integers(0, 20), status=st.sampled_from(["accepted", "failed"]))
    def work(self, number: int, status: str) -> None:
        runs = self.lab.runs.open()
        if runs:
            self.lab.work(runs[number % len(runs)], status=status)

    @rule(number=st.integers(0, 20), state=st.sampled_from(list(RunState)))
    def accident(self, number: int, state: RunState) -> None:
        runs = self.lab.runs.open()
        if runs:
            self.lab.runs.put(runs[number % len(runs)], state)

    @rule()
    def server(self) -> None:
        self.lab.runs.away = not self.lab.runs.away

    @rule()
    def retry(self) -> None:
        with self.lab.ledger() as ledger:
            ledger.retry(ledger.contents(State.FAILED))

    @invariant()
    def nothing_is_forgotten(self) -> None:
        with self.lab.ledger() as ledger:
            now = {content.sha256 for content in ledger.contents()}
            known = {seen.sha256 for seen in ledger.files().values() if seen.sha256}
        assert self.met <= now
        assert known <= now
        self.met = now

    def teardown(self) -> None:
        if not hasattr(self, "lab"):
            return
        lab = self.lab
        lab.runs.away = False
        for path in lab.root.rglob("*.tif"):
            os.utime(path, (lab.now, lab.now))
        for _ in range(12):
            lab.look(200)
            lab.work_all()
        there = {digest(path.read_bytes()) for path in lab.root.rglob("*.tif")}
        with lab.ledger() as ledger:
            contents = {content.sha256: content for content in ledger.contents()}
        assert there <= set(contents)
        for sha256 in there:
            content = contents[sha256]
            assert content.state in (State.DONE, State.FAILED)
            assert content.status in ("accepted", "failed", "cancelled")
            assert content.key in lab.completed or "died 5 times" in content.reason
        assert len(set(lab.completed)) == len(lab.completed)
        shutil.rmtree(self.folder)


Watched.TestCase.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestWatched = Watched.TestCase
