"""What a person wants to know about a watched folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from intake.folder import FileState, Seen
from intake.ledger import Ledger
from intake.places import shown
from intake.records import Content, Look, RunState, State

QUEUED = "queued"
"""What a running content is called while nobody works on it."""

_ORDER = (State.DONE, State.FAILED, State.RUNNING, QUEUED, State.WAITING)


@dataclass(frozen=True)
class Row:
    """A content, or a file that has not become one; texts are safe to show.

    Attributes
    ----------
    name
        Path relative to the watched folder.
    state
        Of the content or the file; "queued" for a running one that no worker has taken.
    status, formula, confidence
        The answer, where there is one.
    tries
        Runs of this round so far; None for a file.
    round
        How often a person asked for another.
    at
        When it got there, seconds since 1970.
    reason
        One sentence.
    """

    name: str
    state: str
    status: str | None
    formula: str | None
    confidence: float | None
    tries: int | None
    round: int
    at: float
    reason: str


@dataclass(frozen=True)
class Overview:
    """What a ledger holds.

    Attributes
    ----------
    look
        The latest pass.
    counts
        As `Ledger.counts`.
    queued
        How many of the running contents nobody works on yet.
    statuses
        How many of the done contents have which status.
    contents, files
        What was asked for, the first seen first; files that are settling, refused or ignored.
    """

    look: Look | None
    counts: Mapping[str, int]
    queued: int
    statuses: Mapping[str, int]
    contents: tuple[Content, ...]
    files: tuple[Seen, ...]

    def rows(self) -> list[Row]:
        """Contents, and files that are refused or not complete; the newest last."""
        told = (FileState.SETTLING, FileState.REFUSED)
        rows = [_of_content(each) for each in self.contents]
        rows += [_of_file(each) for each in self.files if each.state in told]
        return sorted(rows, key=lambda row: (row.at, row.name))


def overview(ledger: Ledger, *, failed: bool = False) -> Overview:
    """Read a ledger.

    Parameters
    ----------
    ledger
        Open in any way.
    failed
        Only contents that failed and files that were refused.
    """
    unread = {FileState.REFUSED} if failed else {FileState.REFUSED, FileState.SETTLING, FileState.IGNORED}
    contents = ledger.contents(*((State.FAILED,) if failed else State))
    return Overview(
        ledger.look(),
        ledger.counts(),
        sum(_is_queued(each) for each in ledger.contents(State.RUNNING)),
        ledger.statuses(),
        tuple(contents),
        tuple(each for each in ledger.files().values() if each.state in unread),
    )


def totals(found: Overview) -> str:
    """Counts in one line."""
    counts = {**found.counts, QUEUED: found.queued, State.RUNNING: found.counts[State.RUNNING] - found.queued}
    micrographs = [f"{counts[state]} {state}" for state in _ORDER if counts[state]]
    statuses = ", ".join(f"{count} {status}" for status, count in found.statuses.items())
    if statuses:
        micrographs = [f"{part} ({statuses})" if part.endswith(State.DONE) else part for part in micrographs]
    files = [f"{counts[state]} {state}" for state in FileState if state is not FileState.KNOWN and counts[state]]
    total = sum(found.counts[state] for state in State)
    line = f"{total} micrograph{'s' if total != 1 else ''}: {', '.join(micrographs) or 'none yet'}"
    return f"{line}. Other files: {', '.join(files)}" if files else line


def _is_queued(content: Content) -> bool:
    untaken = content.progress in (None, RunState.SCHEDULED, RunState.PENDING)
    return content.state is State.RUNNING and untaken


def _of_content(content: Content) -> Row:
    waiting = content.state is State.WAITING
    return Row(
        name=shown(content.path),
        state=QUEUED if _is_queued(content) else str(content.state),
        status=content.status,
        formula=content.formula,
        confidence=content.confidence,
        tries=content.attempt + (not waiting),
        round=content.round,
        at=content.finished_at or content.started_at or content.seen_at,
        reason=content.reason,
    )


def _of_file(seen: Seen) -> Row:
    return Row(shown(seen.path), str(seen.state), None, None, None, None, 0, seen.seen_at, seen.reason)
