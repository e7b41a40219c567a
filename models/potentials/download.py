"""Fetch one file over HTTP: streamed, resumed, bounded in time and size, accepted before it appears under its name."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from microscopy.errors import PotentialError
from microscopy.retrying import retry_after

Progress = Callable[[int, int | None], None]
"""Told of the bytes that are here, and of how many there will be where the server says so."""

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Status codes that a second try may cure."""


@dataclass(frozen=True)
class Limits:
    """Bounds of a download.

    Attributes
    ----------
    connect, stall, total
        Seconds: to reach the server, between two pieces of the answer, and for all of it with its retries.
    attempts, back_off, patience
        Requests at most; seconds before the second, doubled each time; and the longest wait that a server may ask
        for (``Retry-After``).
    size
        Bytes at most.
    """

    connect: float = 15.0
    stall: float = 60.0
    total: float = 3600.0
    attempts: int = 4
    back_off: float = 1.0
    patience: float = 120.0
    size: int = 4 << 30


class UnreachableError(PotentialError):
    """The server cannot be reached, or does not deliver."""


class _AgainError(Exception):
    """The transfer broke off in a way that another request may cure; ``wait`` is what the server asked for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def download(
    url: str,
    target: Path,
    accept: Callable[[Path], None],
    *,
    resume: bool,
    limits: Limits,
    progress: Progress | None = None,
) -> None:
    """Fetch `url` into `target`, by way of ``<target>.part``.

    Parameters
    ----------
    url
        ``http://`` or ``https://``; redirects are followed, proxies are taken from the environment.
    accept
        Looks at the whole file before it gets its name, and raises `PotentialError` to refuse it; then nothing stays.
    resume
        Go on from what an earlier request left. Only for content that `accept` knows, or the halves of two
        versions might be joined.

    Raises
    ------
    PotentialError
        If the file cannot be had, is refused or does not fit on the disk.
    """
    try:
        with _reserved(target.with_name(f"{target.name}.part"), resume) as part:
            _fill(part, url, resume, limits, progress or (lambda done, total: None))
            path = Path(part.name)
            try:
                accept(path)
            except PotentialError:
                path.unlink()
                raise
            path.replace(target)
    except OSError as error:
        raise PotentialError(f"{target}: cannot write: {error.strerror or error}; make room or mend it") from error


@contextmanager
def _reserved(path: Path, resume: bool) -> Iterator[IO[bytes]]:
    """Open a partial file for this process alone; it stays if it is worth going on from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as part:
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PotentialError(f"{path}: another process is fetching it; wait for that one") from None
        except OSError:  # some network file systems cannot lock
            pass
        try:
            yield part
        finally:
            if not resume or part.seek(0, os.SEEK_END) == 0:
                path.unlink(missing_ok=True)


def _fill(part: IO[bytes], url: str, resume: bool, limits: Limits, progress: Progress) -> None:
    """Request until the partial file is whole."""
    deadline = time.monotonic() + limits.total
    timeout = httpx.Timeout(limits.stall, connect=limits.connect)
    with httpx.Client(timeout=timeout, follow_redirects=True) as client:
        for attempt in range(1, limits.attempts + 1):
            if not resume:
                part.truncate(0)
            try:
                _request(client, url, part, deadline, limits, progress)
                return
            except _AgainError as again:
                wait = max(again.wait, limits.back_off * 2 ** (attempt - 1))
                if again.wait > limits.patience:
                    raise UnreachableError(f"{url}: {again}; the server asks to wait {again.wait:.0f} s") from again
                if attempt == limits.attempts or time.monotonic() + wait > deadline:
                    raise UnreachableError(f"{url}: {again}; given up after {attempt} tries") from again
                time.sleep(wait)


def _request(
    client: httpx.Client, url: str, part: IO[bytes], deadline: float, limits: Limits, progress: Progress
) -> None:
    """Ask for what is missing, and append it."""
    here = part.seek(0, os.SEEK_END)
    # Without "identity" a compressed answer would be counted, and continued, at the wrong bytes.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={here}-"} if here else {})}
    try:
        with client.stream("GET", url, headers=headers) as answer:
            if here and answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # there is nothing after what is here
            here = _start(answer, here)
            part.truncate(here)
            length = answer.headers.get("Content-Length", "")
            total = here + int(length) if length.isdigit() else None
            _check_room(url, Path(part.name), here, total, limits)
            for piece in answer.iter_bytes():
                here += part.write(piece)
                progress(here, total)
                if here > limits.size:
                    _check_room(url, Path(part.name), here, here, limits)
                if time.monotonic() > deadline:
                    raise UnreachableError(f"{url}: not complete after {limits.total:.0f} s; run it again to go on")
            part.flush()
            os.fsync(part.fileno())
    except httpx.TimeoutException as error:
        raise _AgainError(f"the server does not answer ({type(error).__name__})") from error
    except httpx.TransportError as error:
        raise _AgainError(f"the transfer fails ({str(error) or type(error).__name__})") from error
    except (httpx.InvalidURL, httpx.TooManyRedirects, httpx.DecodingError) as error:
        raise PotentialError(f"{url}: {error}") from error


def _start(answer: httpx.Response, here: int) -> int:
    """Byte of the file at which the body of an answer starts."""
    status = answer.status_code
    if status == httpx.codes.OK:
        return 0
    if status == httpx.codes.PARTIAL_CONTENT and answer.headers.get("Content-Range", "").startswith(f"bytes {here}-"):
        return here
    said = f"the server says {status} {answer.reason_phrase}".strip()
    if status in RETRIED:
        raise _AgainError(said, retry_after(answer.headers.get("Retry-After")))
    raise PotentialError(f"{answer.request.url}: {said}")


def _check_room(url: str, path: Path, here: int, total: int | None, limits: Limits) -> None:
    """Refuse what is too large for the limit or for the disk."""
    if total is None:
        return
    if total > limits.size:
        raise PotentialError(f"{url}: larger than {limits.size / 1e6:.0f} MB; no potential of the known families is")
    free = shutil.disk_usage(path.parent).free
    if total - here > free:
        raise PotentialError(f"{path.parent}: {(total - here) / 1e6:.0f} MB are needed and {free / 1e6:.0f} are free")
