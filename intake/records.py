"""What passes between the ledger, a pass and whatever runs the jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

IN_FLIGHT = 16
"""Jobs handed over and not yet ended, unless asked otherwise."""


class State(StrEnum):
    """Where a content is on its way."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class RunState(StrEnum):
    """What the one who runs the jobs says about a run."""

    SCHEDULED = "scheduled"
    """In a queue; no worker has taken it, and that may last."""
    PENDING = "pending"
    """A worker has taken it and is about to start it."""
    RUNNING = "running"
    FINISHED = "finished"
    """It ended by itself, well or not."""
    CRASHED = "crashed"
    """It was ended, or its worker died."""
    CANCELLED = "cancelled"
    """A person stopped it."""
    MISSING = "missing"
    """Nobody knows it."""


@dataclass(frozen=True)
class Job:
    """One attempt at one content.

    Attributes
    ----------
    sha256
        Digest of the content, as `microscopy.readers.digest` gives it. A run should compare it with what it reads: the
        file may have been replaced meanwhile.
    path
        A file that had it.
    name
        Name of that file.
    options
        What its sidecars say: fields of `microscopy.readers.ReadOptions`, as JSON holds them.
    round, attempt
        Retries asked for by a person, and automatic ones within a round; both from 0.
    """

    sha256: str
    path: Path
    name: str
    options: Mapping[str, Any]
    round: int
    attempt: int

    @property
    def key(self) -> str:
        """Name of its claim and its finished marker."""
        return f"{self.sha256}-{self.round}"


@dataclass(frozen=True)
class Content:
    """Row of the ledger: one content, however many files have it. Times are seconds since 1970.

    Attributes
    ----------
    sha256
        Digest.
    name, path
        File name, and path relative to the watched folder, of the file that was first seen or last used.
    seen_at
        When it was first found complete.
    state
        Where it is on its way.
    status, confidence, formula, reason, folder, seconds
        As its finished marker says; ``reason`` also tells why it waits or failed otherwise.
    round, attempt
        As in `Job`.
    run_id
        Of the latest attempt.
    started_at, finished_at
        When the latest attempt was handed over; when its end was noticed.
    options
        Of the latest attempt.
    progress, progress_at
        `RunState` of the latest attempt, or "held" while somebody has its claim; since when.
    """

    sha256: str
    name: str
    path: str
    seen_at: float
    state: State = State.WAITING
    status: str | None = None
    confidence: float | None = None
    formula: str | None = None
    reason: str = ""
    folder: str | None = None
    seconds: float | None = None
    round: int = 0
    attempt: int = 0
    run_id: str | None = None
    started_at: float | None = None
    finished_at: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    progress: str | None = None
    progress_at: float | None = None

    @property
    def key(self) -> str:
        """Name of its claim and its finished marker."""
        return f"{self.sha256}-{self.round}"


@dataclass(frozen=True)
class Look:
    """The latest pass.

    Attributes
    ----------
    root
        The watched folder.
    at
        When, seconds since 1970.
    trouble, warnings
        What kept the pass from doing its work; what a person should know of the folder.
    """

    root: str
    at: float
    trouble: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Runs(Protocol):
    """Whoever runs the jobs.

    Both methods raise `UnreachableError` when it does not answer, which costs nothing but time; any other exception of
    ``submit`` counts as a lost run of the job.
    """

    def submit(self, job: Job) -> str:
        """Hand a job over; its run's id. Handing over the same ``job.key`` and ``job.attempt`` gives the same run."""
        ...

    def states(self, ids: Iterable[str]) -> Mapping[str, RunState]:
        """What became of runs; those left out are missing."""
        ...


@dataclass(frozen=True)
class PassSettings:
    """How patient a pass is.

    Attributes
    ----------
    settle, max_bytes, hashing
        As in `intake.folder.scan`.
    in_flight
        Jobs handed over and not yet ended, at most.
    attempts
        Runs that may be lost before a content fails.
    unclaimed
        Seconds for which a run may be running, or have ended, with neither a claim nor a finished marker.
    pending
        Seconds for which a worker may be about to start a run.
    backoff
        Seconds to wait after the first lost run before the next one; doubled each time.
    """

    settle: float = 5.0
    max_bytes: int = 4 << 30
    hashing: float = 20.0
    in_flight: int = IN_FLIGHT
    attempts: int = 5
    unclaimed: float = 20.0
    pending: float = 120.0
    backoff: float = 10.0


@dataclass
class Pass:
    """What one pass did: names of files, safe to show.

    Attributes
    ----------
    new, started, finished, failed, lost
        Contents met for the first time; handed over; ended with an answer; ended without; whose run was lost.
    counts
        As `Ledger.counts`, after the pass.
    trouble, warnings
        As in `Look`.
    """

    new: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lists = {"new": self.new, "started": self.started, "finished": self.finished}
        lists |= {"failed": self.failed, "to be run again": self.lost}
        parts = [f"{len(names)} {what}" for what, names in lists.items() if names]
        return "; ".join([", ".join(parts) or "nothing new", *self.trouble])
