"""One pass over a watched folder: record what is there, settle what has ended, hand over what waits.

Safe to be killed between any two statements. Files are read before the ledger hears of them; a job is handed over
before the ledger says so, and handing it over again is the same run; what ended is told by its finished marker, which
is there or not. A pass that was cut off is made good by the next.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intake import claims
from intake.errors import IntakeError, LedgerError, UnreachableError, VanishedError
from intake.folder import scan
from intake.ledger import Ledger
from intake.places import shown
from intake.records import IN_FLIGHT, Content, Job, Look, Pass, PassSettings, Runs, RunState, State
from intake.sidecar import read_sidecar, youngest

__all__ = ["IN_FLIGHT", "Job", "Pass", "PassSettings", "RunState", "Runs", "one_pass"]

CANCELLED = "cancelled"
"""Status of a content whose run somebody cancelled."""

HELD = "held"
"""Progress of a content that somebody works on; no run state says more."""


def one_pass(
    ledger: Ledger, root: Path, out: Path, runs: Runs, now: float, settings: PassSettings | None = None
) -> Pass:
    """Look at a folder once and do what is to be done.

    Parameters
    ----------
    ledger
        Open for writing.
    root, out
        The watched folder, the output folder.
    runs
        Whoever runs the jobs.
    now
        Seconds since 1970.
    settings
        How patient to be.

    Raises
    ------
    IntakeError
        If somebody else makes a pass, the ledger cannot be written or is that of another folder, or the folders are no
        use; whatever else goes wrong is in the pass.
    """
    with claims.only_pass(out):
        ledger.check_root(root)
        return _Passing(ledger, Path(root), Path(out), runs, now, settings or PassSettings()).run()


class _Passing:
    def __init__(self, ledger: Ledger, root: Path, out: Path, runs: Runs, now: float, settings: PassSettings) -> None:
        self.ledger, self.root, self.out, self.runs, self.now, self.settings = ledger, root, out, runs, now, settings
        self.told = Pass()

    def run(self) -> Pass:
        here = self._look()
        self._settle()
        if here:
            self._hand_over()
        told = self.told
        look = Look(str(self.root.absolute()), self.now, tuple(told.trouble), tuple(told.warnings))
        self.ledger.passed(look)
        told.counts = self.ledger.counts()
        return told

    def _look(self) -> bool:
        """Record what is in the folder; whether it is there."""
        previous, chosen = self.ledger.files(), self.settings
        try:
            seen = scan(
                *(self.root, previous, self.now),
                out=self.out,
                settle=chosen.settle,
                max_bytes=chosen.max_bytes,
                hashing=chosen.hashing,
            )
            mode = self.root.stat().st_mode
        except VanishedError as error:
            self.told.trouble.append(str(error))
            return False
        except OSError as error:
            self.told.trouble.append(f"{shown(str(self.root))}: {error.strerror or error}")
            return False
        changed = [each for each in seen if each is not previous.get(each.path)]
        if changed:
            self.told.new += [shown(content.name) for content in self.ledger.record(changed)]
        if mode & stat.S_IWOTH:
            self.told.warnings.append(
                f"{shown(str(self.root))}: anybody on this machine may put files here; they are only read, as images"
            )
        return True

    def _settle(self) -> None:
        """See what became of the runs."""
        running = self.ledger.contents(State.RUNNING)
        # In this order: a run writes its marker, lets go of its claim, ends. Asked the other way round, a run that does
        # all of it in between would seem to have ended without a marker.
        states = self._states([content.run_id for content in running if content.run_id])
        changes = []
        for content in running:
            try:
                changes.append((content, self._became(content, states)))
            except OSError as error:
                self.told.trouble.append(f"{shown(str(self.out))}: {error.strerror or error}")
        if any(change for _, change in changes):
            with self.ledger.transaction():
                for content, change in changes:
                    self._apply(content, change)

    def _states(self, ids: list[str]) -> Mapping[str, RunState] | None:
        """None if nobody knows."""
        if not ids:
            return {}
        try:
            return self.runs.states(ids)
        except Exception as error:
            self.told.trouble.append(f"what became of the runs is unknown: {_sentence(error)}")
            return None

    def _became(self, content: Content, states: Mapping[str, RunState] | None) -> dict[str, Any]:
        """Changes to a running content."""
        held = claims.held(self.out, content.key)
        if ended := self._ended(content):
            return ended
        if states is None and not held:
            return {}
        if states and not held and states.get(content.run_id or "") is RunState.CANCELLED:
            return self._failed("it was cancelled; 'automat retry' runs it again") | {"status": CANCELLED}
        progress = (
            HELD if held else str(states.get(content.run_id or "", RunState.MISSING) if states else RunState.MISSING)
        )
        since = content.progress_at if progress == content.progress and content.progress_at else self.now
        patience = {
            RunState.PENDING: self.settings.pending,
            RunState.RUNNING: self.settings.unclaimed,
            RunState.FINISHED: self.settings.unclaimed,
            RunState.CRASHED: 0.0,
            RunState.MISSING: 0.0,
        }
        if progress in patience and self.now - since >= patience[RunState(progress)]:
            return self._lost(content, f"its worker died {content.attempt + 1} times; see the worker's log")
        return {} if progress == content.progress else {"progress": progress, "progress_at": self.now}

    def _ended(self, content: Content) -> dict[str, Any]:
        """Changes to a content that has a finished marker; none without."""
        try:
            document = claims.finished(self.out, content.key)
        except IntakeError as error:
            return self._failed(str(error))
        if document is None:
            return {}
        status = _text(document.get("status"))
        return {
            "state": State.FAILED if status in (None, "failed") else State.DONE,
            "status": status,
            "confidence": _number(document.get("confidence")),
            "formula": _text(document.get("formula")),
            "reason": _text(document.get("reason")) or "",
            "folder": _text(document.get("folder")),
            "seconds": _number(document.get("seconds")),
            "finished_at": self.now,
            "progress": None,
            "progress_at": None,
        }

    def _lost(self, content: Content, reason: str) -> dict[str, Any]:
        """Changes to a content whose run gave nothing."""
        if content.attempt + 1 >= self.settings.attempts:
            return self._failed(f"{reason}, then 'automat retry'")
        waiting = {"state": State.WAITING, "attempt": content.attempt + 1, "run_id": None}
        return waiting | {"progress": None, "progress_at": None}

    def _failed(self, reason: str) -> dict[str, Any]:
        failed = {"state": State.FAILED, "status": "failed", "reason": reason, "finished_at": self.now}
        return failed | {"progress": None, "progress_at": None}

    def _apply(self, content: Content, changes: dict[str, Any]) -> None:
        """Write changes and tell of them."""
        if not changes or not self.ledger.update(content, **changes):
            return
        lists = {
            State.DONE: self.told.finished,
            State.FAILED: self.told.failed,
            State.WAITING: self.told.lost,
            State.RUNNING: self.told.started,
        }
        if "state" in changes:
            lists[changes["state"]].append(shown(changes.get("name", content.name)))

    def _hand_over(self) -> None:
        """Submit what waits, the oldest first."""
        free = self.settings.in_flight - len(self.ledger.contents(State.RUNNING))
        for content in self.ledger.contents(State.WAITING) if free > 0 else ():
            if not self._due(content):
                continue
            try:
                changes = self._handed_over(content)
            except UnreachableError as error:
                self.told.trouble.append(str(error))
                return
            except LedgerError:
                raise
            except OSError as error:
                self.told.trouble.append(f"{shown(content.name)}: {error.strerror or error}")
                continue
            except Exception as error:
                lost = self._lost(content, f"cannot be handed over: {_sentence(error)}; see the watcher's log")
                changes = lost | {"started_at": self.now}
            self._apply(content, changes)
            free -= changes.get("state") is State.RUNNING
            if free <= 0:
                return

    def _due(self, content: Content) -> bool:
        """Whether a content has waited long enough since its latest run was handed over."""
        if not content.attempt or content.started_at is None:
            return True
        return bool(abs(self.now - content.started_at) >= self.settings.backoff * 2 ** (content.attempt - 1))

    def _handed_over(self, content: Content) -> dict[str, Any]:
        if ended := self._ended(content):
            return ended
        places = self.ledger.places(content.sha256)
        if not places:
            gone = "its file is gone; put it back and it is processed"
            return {} if content.reason == gone else {"reason": gone}
        place = content.path if content.path in places else places[0]
        path = self.root / place
        if 0 <= self.now - youngest(path, self.root) < self.settings.settle:
            return {}
        try:
            sidecar = read_sidecar(path, self.root)
        except IntakeError as error:
            return self._failed(f"{error}; then 'automat retry'")
        job = Job(content.sha256, path, path.name, sidecar.options, content.round, content.attempt)
        return {
            "run_id": self.runs.submit(job),
            "state": State.RUNNING,
            "path": place,
            "name": path.name,
            "options": sidecar.options,
            "reason": "",
            "started_at": self.now,
        }


def _sentence(error: Exception) -> str:
    return shown(" ".join(str(error).split()))[:300] or type(error).__name__


def _text(value: Any) -> str | None:
    return None if value is None else shown(str(value))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) < float("inf") else None
