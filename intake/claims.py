"""Exactly once: a content is worked on by the holder of its claim, and finished by whoever writes its marker first.

Claims are locks of the operating system: they end with the process, however it dies. They live in the output folder, so
that workers on other machines see them; its file system must support ``flock`` (local disks, NFS 4 and SMB 3 do).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from intake.errors import ClaimedError, IntakeError
from intake.places import INTERNAL, shown

WATCH_LOCK = "watch.lock"
PASS_LOCK = "pass.lock"

_KEY = re.compile(r"[0-9a-f]{64}-[0-9]{1,9}")
"""``<sha256>-<round>``; a key becomes the name of a file, so nothing else is one."""

_TRIES = 20
_PAUSE = 0.01
"""Seconds between tries: whoever only looks whether a lock is held, holds it for a moment."""

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
"""What file systems without hard links answer."""


@contextmanager
def claim(out: Path, key: str) -> Iterator[None]:
    """Be the only one that works on a key; the claim ends with the block, or with the process.

    Raises
    ------
    ClaimedError
        If another process, or another block of this one, has it.
    IntakeError
        If the output folder cannot be written or cannot hold locks.
    """
    with _locked(_path(out, "claims", key), f"{key} is being worked on"):
        yield


def held(out: Path, key: str) -> bool:
    """Whether anybody works on a key now; raises OSError if the output folder is away."""
    return _holder(_path(out, "claims", key)) is not None


@contextmanager
def only_watcher(out: Path) -> Iterator[None]:
    """Be the only one that watches for an output folder, as long as the block takes.

    Raises
    ------
    ClaimedError
        If another process is; the message says which.
    IntakeError
        If the output folder cannot be written or cannot hold locks.
    """
    with _locked(out / INTERNAL / WATCH_LOCK, f"{shown(str(out))}: another watcher writes here; end it first"):
        yield


@contextmanager
def only_pass(out: Path) -> Iterator[None]:
    """Be the only one that makes a pass; raises as `only_watcher`."""
    with _locked(out / INTERNAL / PASS_LOCK, f"{shown(str(out))}: another watcher writes here; end one of them"):
        yield


def watcher(out: Path) -> str | None:
    """Say who holds `only_watcher` now: process and host; None if nobody does."""
    return _holder(out / INTERNAL / WATCH_LOCK)


def finish(out: Path, key: str, document: Mapping[str, Any]) -> bool:
    """Write what became of a key, unless somebody has: complete or not at all.

    To be called by the holder of the claim.

    Parameters
    ----------
    out, key
        Output folder; ``<sha256>-<round>``.
    document
        ``folder`` (name of the run folder or None), ``status``, ``confidence``, ``formula``, ``reason``, ``seconds``;
        what JSON can hold.

    Returns
    -------
    bool
        False if there was a marker; it stays as it is.

    Raises
    ------
    IntakeError
        If the disk refuses.
    """
    marker = _path(out, "finished", key).with_name(f"{key}.json")
    text = json.dumps(dict(document), ensure_ascii=True, allow_nan=False)
    with _disk(marker):
        marker.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{key}-", suffix=".part", dir=marker.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                os.fchmod(descriptor, 0o644)
                stream.write(text + "\n")
                stream.flush()
                os.fsync(descriptor)
            first = _publish(Path(name), marker)
        finally:
            Path(name).unlink(missing_ok=True)
        _sync(marker.parent)
    return first


def finished(out: Path, key: str) -> dict[str, Any] | None:
    """Read what became of a key; None while nothing has.

    Raises
    ------
    IntakeError
        If there is a marker that no `finish` can have written.
    OSError
        If the output folder is away.
    """
    marker = _path(out, "finished", key).with_name(f"{key}.json")
    try:
        document = json.loads(marker.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise IntakeError(f"{shown(str(marker))}: is damaged ({error}); delete it, then 'automat retry'") from error
    if not isinstance(document, dict):
        raise IntakeError(f"{shown(str(marker))}: is not a finished marker; delete it, then 'automat retry'")
    return document


def _path(out: Path, kind: str, key: str) -> Path:
    if not _KEY.fullmatch(key):
        raise IntakeError(f"{shown(repr(key))} is no key; a key is a sha256, a dash and the round")
    return Path(out) / INTERNAL / kind / key


def _publish(draft: Path, marker: Path) -> bool:
    try:
        os.link(draft, marker)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if marker.exists():  # the claim, which the caller has, keeps others away
            return False
        draft.replace(marker)
    return True


def _sync(folder: Path) -> None:
    """Put the entries of a folder on the disk, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def _locked(path: Path, taken: str) -> Iterator[None]:
    """Hold an exclusive lock on a file that exists only meanwhile."""
    with _disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _lock(path, taken)
    try:
        with suppress(OSError):  # for people only; a full disk does not keep anybody from working
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # before it is unlocked: whoever waits for it sees that it is gone
        os.close(descriptor)


def _lock(path: Path, taken: str) -> int:
    """Descriptor of the locked file."""
    holder = "another process"
    for _ in range(_TRIES):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _same(descriptor, path):
                return descriptor
            os.close(descriptor)  # its holder removed it between our opening and our locking
        except BlockingIOError:
            holder = _words(descriptor)
            os.close(descriptor)
            time.sleep(_PAUSE)
        except OSError:
            os.close(descriptor)
            raise
    raise ClaimedError(f"{taken} ({holder})")


def _holder(path: Path) -> str | None:
    """Words of whoever has a file locked."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _words(descriptor)
    finally:
        os.close(descriptor)
    return None


def _words(descriptor: int) -> str:
    return shown(os.pread(descriptor, 200, 0).decode(errors="replace").strip()) or "another process"


def _same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Tell what the disk refuses."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP):
            remedy = "the file system cannot lock files: choose an output folder on another"
        else:
            remedy = "free space, make the folder writable, or choose another output folder"
        raise IntakeError(f"{shown(str(path))}: {error.strerror or error}; {remedy}") from error
