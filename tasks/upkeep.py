"""The cache is kept small: what nobody has used for long is removed, and computed again when it is asked for.

Only what steps have computed is ever removed: weights, libraries, reference energies and logs stay. So does whatever
was made or used within a day: a run that goes on may need it.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from microscopy.cache import cache_folder, cached_records, cached_results

DAY = 86400.0
"""Seconds."""

NEVER = -float("inf")

RESULTS = "results of steps"
"""Kind of the small files that say what was computed of what; records are of the kind that their names say."""

_OURS = "automat-"
"""How the names of a step's results begin: outside of the cache there may be those of other programs."""


@dataclass
class Amount:
    """Files and the bytes that they take on the disk."""

    files: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """Count one more file."""
        self.files += 1
        self.bytes += size


@dataclass(frozen=True)
class Pruned:
    """What pruning came to.

    Attributes
    ----------
    removed
        What was removed, or would have been, by kind.
    kept
        What is left of that which can be removed.
    young
        How much of it was used within a day, and therefore is not.
    troubles
        A sentence for each kind of which some could not be removed.
    """

    removed: dict[str, Amount]
    kept: Amount
    young: Amount
    troubles: tuple[str, ...]

    @property
    def freed(self) -> int:
        """Bytes that were freed."""
        return sum(each.bytes for each in self.removed.values())


@dataclass(frozen=True)
class _Entry:
    """A file that can be removed: relative to an open folder, so that no link can lead elsewhere."""

    kind: str
    name: str
    folder: int
    used: float
    bytes: int


def prune(
    older_than: float | None = None, keep: int | None = None, now: float | None = None, dry_run: bool = False
) -> Pruned:
    """Remove what steps have computed and nobody has used for long, the least recently used first.

    Safe while runs go on, here and in other processes: what they use is marked as used, and what is asked for and gone
    is computed again.

    Parameters
    ----------
    older_than
        Seconds: whatever has not been used for so long goes. None: age alone is no reason.
    keep
        Bytes: the least recently used goes until no more than this is left. None: there is no limit.
    now
        Seconds since 1970; the time of the call by default.
    dry_run
        Remove nothing, only say what would be.

    Returns
    -------
    Pruned
        What was removed and what is left. More than ``keep`` is left where that was used within a day.
    """
    now = time.time() if now is None else now
    last = min(now - DAY, max(_by_age(older_than, now), _by_size(keep)))
    removed: dict[str, Amount] = {}
    kept, young, troubles = Amount(), Amount(), {}
    for entry in _entries():
        if entry.used <= last:
            try:
                if not dry_run:
                    os.unlink(entry.name, dir_fd=entry.folder)
            except FileNotFoundError:
                continue  # somebody else prunes
            except OSError as error:
                troubles[entry.kind] = f"some {entry.kind} cannot be removed: {error.strerror or error}"
            else:
                removed.setdefault(entry.kind, Amount()).add(entry.bytes)
                continue
        kept.add(entry.bytes)
        if entry.used > now - DAY:
            young.add(entry.bytes)
    return Pruned(dict(sorted(removed.items())), kept, young, tuple(troubles.values()))


def _by_age(older_than: float | None, now: float) -> float:
    """Time of the latest use of what is too old."""
    return NEVER if older_than is None else now - older_than


def _by_size(keep: int | None) -> float:
    """Time of the latest use of what is too much."""
    if keep is None:
        return NEVER
    uses = sorted(((entry.used, entry.bytes) for entry in _entries()), reverse=True)
    total = 0
    for used, size in uses:
        total += size
        if total > keep:
            return used
    return NEVER


def _entries() -> Iterator[_Entry]:
    """Everything that can be removed, as it is at this moment; links are neither followed nor given."""
    results = cached_results()
    prefix = "" if results.parent == cache_folder() else _OURS
    yield from _files(cached_records(), None, "")
    yield from _files(results, RESULTS, prefix)


def _files(top: Path, kind: str | None, prefix: str) -> Iterator[_Entry]:
    """Plain files below a folder, of a kind or of that which their folder is named after."""
    if top.is_symlink() or not top.is_dir():
        return
    for folder, _, names, descriptor in os.fwalk(top, follow_symlinks=False):
        below = Path(folder).relative_to(top).parts
        for name in names:
            if not name.startswith(prefix):
                continue
            try:
                found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(found.st_mode):
                told = kind or (below[0] if below else top.name)
                yield _Entry(told, name, descriptor, found.st_mtime, found.st_blocks * 512)
