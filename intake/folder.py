"""Look into a watched folder: which files are there, which are complete, and which are none of our business.

By polling only, since nothing tells of changes on a network share. A file is complete when its size and its time of
modification are what they were at an earlier look at least ``settle`` seconds ago, and did not change while it was
read. The times in question are only compared with themselves, so clocks may disagree and be coarse.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from intake.errors import IntakeError
from intake.opening import stable_digest
from intake.walking import Found, Walk

EMPTY = "is empty"


class FileState(StrEnum):
    """What is known about a path."""

    SETTLING = "settling"
    """May still be written to, or cannot be read yet."""
    KNOWN = "known"
    """Read to the end; has a digest."""
    REFUSED = "refused"
    """Not a file to be read; the reason says why."""
    IGNORED = "ignored"
    """Not a micrograph by its name."""
    GONE = "gone"
    """Was here once."""


@dataclass(frozen=True)
class Seen:
    """One path as last seen.

    Attributes
    ----------
    path
        Relative to the watched folder, with ``/``; a folder ends with one. Bytes that are no UTF-8 are surrogates.
    size, mtime_ns
        Bytes, and time of modification in ns as the file system tells it; of several files that form one image, their
        sum and their latest.
    seen_at
        When it was first seen like this, seconds since 1970.
    state
        What is known.
    sha256
        Digest as of `microscopy.readers.digest`, of a known one.
    reason
        One sentence about a refused or ignored one, or about one that cannot be read yet.
    """

    path: str
    size: int
    mtime_ns: int
    seen_at: float
    state: FileState
    sha256: str | None = None
    reason: str = ""


def scan(
    root: Path,
    previous: Mapping[str, Seen],
    now: float,
    *,
    out: Path | None = None,
    settle: float = 5.0,
    max_bytes: int = 4 << 30,
    hashing: float = 20.0,
) -> list[Seen]:
    """Look once.

    Parameters
    ----------
    root
        The watched folder.
    previous
        What the last look gave, by path; without what was gone then.
    now
        Seconds since 1970.
    out
        Output folder, skipped wherever it is.
    settle
        Seconds for which a file must not change.
    max_bytes
        Larger files are refused, sparse ones too.
    hashing
        Seconds after which no further file is read; those left are read at the next look.

    Returns
    -------
    list of Seen
        Everything there, and what has gone; an entry that is nothing new is the very object of ``previous``.

    Raises
    ------
    VanishedError
        If the folder cannot be read, or is empty and was not: a share that is away. Nothing is gone then.
    """
    walk = Walk(root, out, max_bytes)
    found = {each.path: each for each in walk.entries(bool(previous))}
    seen = {path: _met(each, previous.get(path), now) for path, each in found.items()}
    due = [
        each
        for path, each in seen.items()
        if each.state is FileState.SETTLING and each is previous.get(path) and abs(now - each.seen_at) >= settle
    ]
    deadline = time.monotonic() + hashing
    for each in sorted(due, key=lambda one: one.seen_at):
        seen[each.path] = _read(each, found[each.path], now)
        if time.monotonic() > deadline:
            break
    return [*seen.values(), *_left(previous, seen.keys(), walk, now)]


def _met(found: Found, before: Seen | None, now: float) -> Seen:
    """What is known of a path before it is read."""
    verdict = found.verdict
    state = FileState(verdict[0]) if verdict else FileState.SETTLING
    reason = verdict[1] if verdict else ""
    if before and (before.size, before.mtime_ns) == (found.size, found.mtime_ns):
        readable = before.state in (FileState.KNOWN, FileState.SETTLING) or before.reason == EMPTY
        if verdict is None and readable:
            return before
        if verdict and (before.state, before.reason) == (state, reason):
            return before
    return Seen(found.path, found.size, found.mtime_ns, now, state, None, reason)


def _read(seen: Seen, found: Found, now: float) -> Seen:
    """Read a file that seems complete."""
    if not seen.size:
        return replace(seen, seen_at=now, state=FileState.REFUSED, reason=EMPTY)
    try:
        parts = [Path(part) for part in found.parts]
        digest = stable_digest(parts)
        after = [part.lstat() for part in parts]
    except FileNotFoundError:
        return seen  # the next look will find it gone
    except IntakeError as error:
        return replace(seen, seen_at=now, reason=str(error))
    except PermissionError:
        return replace(seen, reason="permission denied; make the file readable, it is tried again")
    except OSError as error:
        return replace(seen, reason=f"cannot be read ({error.strerror or error}); it is tried again")
    size, mtime_ns = sum(part.st_size for part in after), max(part.st_mtime_ns for part in after)
    if digest is None or (size, mtime_ns) != (found.size, found.mtime_ns):
        return replace(seen, seen_at=now, reason="changed while it was read; it is tried again")
    return replace(seen, seen_at=now, state=FileState.KNOWN, sha256=digest, reason="")


def _left(previous: Mapping[str, Seen], present: Iterable[str], walk: Walk, now: float) -> list[Seen]:
    """What is not there any more, or in a folder that could not be read."""
    absent = [each for path, each in previous.items() if path not in present]
    unread = tuple(walk.unread)
    return [
        each if unread and each.path.startswith(unread) else replace(each, seen_at=now, state=FileState.GONE, reason="")
        for each in absent
    ]
