"""Open files that anybody may have put there: never a link out of the folder, never something that blocks."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path

from intake.errors import IntakeError
from intake.places import shown

BLOCK = 1 << 20
"""Bytes in memory at a time."""

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
}


def kind(mode: int) -> str:
    """Say what a path is that is no regular file; empty for one that is."""
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "not a regular file")


def inside(path: Path, root: Path) -> Path:
    """Resolve a path whose links all stay within a folder.

    Raises
    ------
    IntakeError
        If it leads out, in a circle or nowhere.
    OSError
        If the folder is away.
    """
    try:
        target = Path(os.path.realpath(path, strict=True))
    except FileNotFoundError:
        raise IntakeError("a link that leads nowhere; copy the file here") from None
    except OSError as error:
        if not Path(path).is_symlink():
            raise
        raise IntakeError(f"a link that cannot be followed ({error.strerror}); copy the file here") from None
    if not target.is_relative_to(os.path.realpath(root)):
        raise IntakeError("a link that leads out of the watched folder; copy the file here")
    return target


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading; the last component is no link.

    Raises
    ------
    IntakeError
        If it is anything else.
    OSError
        If it cannot be opened.
    """
    # Without O_NONBLOCK, opening a pipe would wait for its other end.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    stream = os.fdopen(descriptor, "rb")
    if problem := kind(os.fstat(descriptor).st_mode):
        stream.close()
        raise IntakeError(f"{shown(path.name)}: is {problem}, not a file")
    return stream


def stable_digest(parts: Sequence[Path]) -> str | None:
    """SHA-256 over files one after the other; None if one of them changed meanwhile.

    Raises
    ------
    IntakeError, OSError
        As `open_regular`.
    """
    state = hashlib.sha256()
    buffer = memoryview(bytearray(BLOCK))
    for path in parts:
        with open_regular(path) as stream:
            before = os.fstat(stream.fileno())
            while count := stream.readinto(buffer):
                state.update(buffer[:count])
            after = os.fstat(stream.fileno())
        if _identity(before) != _identity(after) or _identity(after) != _identity(path.lstat()):
            return None
    return state.hexdigest()


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
