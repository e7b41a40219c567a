"""A watched folder with a clock of its own, and workers that live in files, so that they outlast whoever is killed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from intake import claims
from intake.errors import ClaimedError, UnreachableError
from intake.ledger import Ledger
from intake.passing import Job, Pass, PassSettings, RunState, one_pass
from intake.places import LEDGER, default_out
from intake.records import Content, State

START = 1_700_000_000.0


class Runs:
    """Runs as files: what was submitted, and the state of each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.away = False
        folder.mkdir(exist_ok=True)

    def submit(self, job: Job) -> str:
        if self.away:
            raise UnreachableError("the server does not answer; start it")
        name = f"{job.key}-{job.attempt}"
        facts = {"sha256": job.sha256, "path": os.fspath(job.path), "key": job.key, "options": dict(job.options)}
        if not (self.folder / name).exists():
            draft = self.folder / f".{name}"
            draft.write_text(json.dumps(facts))
            draft.replace(self.folder / name)
        return name

    def states(self, ids: Iterable[str]) -> Mapping[str, RunState]:
        if self.away:
            raise UnreachableError("the server does not answer; start it")
        return {each: self.state(each) for each in ids if (self.folder / each).exists()}

    def state(self, run: str) -> RunState:
        file = self.folder / f".{run}.state"
        return RunState(file.read_text()) if file.exists() else RunState.SCHEDULED

    def put(self, run: str, state: RunState) -> None:
        (self.folder / f".{run}.state").write_text(state)

    def all(self) -> list[str]:
        return sorted(each.name for each in self.folder.iterdir() if not each.name.startswith("."))

    def open(self) -> list[str]:
        return [each for each in self.all() if self.state(each) not in (RunState.FINISHED, RunState.CRASHED)]

    def job(self, run: str) -> dict[str, object]:
        return dict(json.loads((self.folder / run).read_text()))


class Lab:
    """A microscope that writes, a watcher that looks, workers that work."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "drop"
        self.root.mkdir()
        self.out = default_out(self.root)
        self.runs = Runs(folder / "runs")
        self.now = START
        self.completed: list[str] = []
        self.settings = PassSettings()

    def drop(self, name: str, content: bytes = b"pixels", *, age: float = 100.0) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (self.now - age, self.now - age))
        return path

    def ledger(self) -> Ledger:
        return Ledger(self.out / LEDGER)

    def look(self, seconds: float = 10.0) -> Pass:
        """Let time pass and look once."""
        self.now += seconds
        with self.ledger() as ledger:
            return one_pass(ledger, self.root, self.out, self.runs, self.now, self.settings)

    def work(self, run: str, **said: object) -> bool:
        """Do what a worker does with a run; whether this was the one that finished the content."""
        job = self.runs.job(run)
        key = str(job["key"])
        first = False
        try:
            with claims.claim(self.out, key):
                if claims.finished(self.out, key) is None:
                    document = {"folder": f"x-{key[:8]}", "status": "accepted", "confidence": 0.9, "formula": "MoS2"}
                    first = claims.finish(self.out, key, document | {"reason": "", "seconds": 1.5} | said)
        except ClaimedError:
            pass
        self.runs.put(run, RunState.FINISHED)
        if first:
            self.completed.append(key)
        return first

    def work_all(self, **said: object) -> None:
        for run in self.runs.open():
            self.work(run, **said)

    def finish_everything(self, rounds: int = 30) -> None:
        """Look and work until nothing is left to do."""
        for _ in range(rounds):
            told = self.look(200.0)
            self.work_all()
            if not (told.counts["waiting"] or told.counts["running"] or told.counts["settling"]):
                return
        raise AssertionError(f"work is left: {told}")

    def contents(self, *states: State) -> dict[str, Content]:
        with self.ledger() as ledger:
            return {content.name: content for content in ledger.contents(*states)}

    def files(self) -> dict[str, tuple[str, str]]:
        """State and reason by path."""
        with self.ledger() as ledger:
            return {path: (seen.state.value, seen.reason) for path, seen in ledger.files(gone=True).items()}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
