"""Reading files that may be anything: a bounded part in memory at a time, and never a pipe or a device."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from library.sources.entry import RefusedError, brief
from microscopy.errors import LibraryError
from microscopy.files import sha256

MAX_FILE = 20 * 2**20
"""Bytes of one structure file or one JSON record, after decompression: a hundred times the largest honest one."""

MAX_TOTAL = 8 * 2**30
"""Bytes of one archive or compressed file, after decompression; ten times the largest published database."""

CHUNK = 2**20


class TooLargeError(RefusedError):
    """More bytes than an honest file has."""

    def __init__(self, name: str, limit: int) -> None:
        super().__init__("file too large", f"{name}: more than {limit} bytes")


def regular(path: Path) -> bool:
    """Whether a path, links followed, is an ordinary file: reading a pipe or a device could wait for ever."""
    return stat.S_ISREG(path.stat().st_mode)


def content(path: Path, limit: int = MAX_FILE) -> bytes:
    """Bytes of a small file.

    Raises
    ------
    RefusedError
        If the file is no ordinary file, cannot be read, or is too large.
    """
    try:
        if not regular(path):
            raise RefusedError("not an ordinary file", str(path))
        with path.open("rb") as stream:
            return limited(stream, path.name, limit)
    except OSError as error:
        raise RefusedError("unreadable file", str(error)) from error


def limited(stream: IO[bytes], name: str, limit: int | None = None) -> bytes:
    """All of a stream; what its headers say of its size is not believed."""
    limit = MAX_FILE if limit is None else limit
    data = stream.read(limit + 1)
    if len(data) > limit:
        raise TooLargeError(name, limit)
    return data


def digest(data: bytes) -> str:
    """Version of a file that carries none."""
    return f"sha256:{hashlib.sha256(data).hexdigest()[:16]}"


def file_digest(path: Path) -> str:
    """`digest` of a file of any size."""
    return f"sha256:{sha256(path)[:16]}"


def open_maybe_gzip(path: Path) -> IO[bytes]:
    """Binary stream of a file, decompressed if it is gzip."""
    with path.open("rb") as stream:
        compressed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if compressed else path.open("rb")  # type: ignore[return-value]


def documents(stream: IO[bytes], name: str) -> Iterator[Any]:
    """JSON documents of a stream, one at a time: the items of one list, or one document to a line.

    A line that is no JSON is yielded as the `RefusedError` that says so; a broken list ends there.

    Raises
    ------
    LibraryError
        If the stream cannot be read on: truncated, too large, or a list that is no JSON.
    """
    try:
        first = b" "
        for _ in range(MAX_TOTAL // CHUNK):
            if first.strip() or not first:
                break
            first = stream.read(CHUNK)
        if not first.strip():
            return
        if first.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
            yield from _items(first, stream, name)
        else:
            yield from _lines(first, stream, name)
    except (OSError, EOFError, zlib.error, ValueError, RecursionError, NotImplementedError) as error:
        raise LibraryError(f"{name}: cannot be read to its end ({brief(error)})") from error


def _items(first: bytes, stream: IO[bytes], name: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    reader = io.TextIOWrapper(io.BufferedReader(_Joined(first, stream)), "utf-8-sig", errors="replace")
    text, total, ended = reader.read(CHUNK).lstrip()[1:], 0, False
    while True:
        text = text.lstrip(", \t\r\n")
        if text.startswith("]"):
            return
        try:
            item, end = decoder.raw_decode(text)
        except json.JSONDecodeError:
            # Either the item goes on in the next chunk or it is broken: reading twice as much each time decides.
            more = "" if ended else reader.read(max(CHUNK, len(text)))
            total += len(more)
            if not more or len(text) > MAX_FILE or total > MAX_TOTAL:
                raise ValueError("a broken or enormous item in the list") from None
            text += more
            continue
        yield item
        text = text[end:]


def _lines(first: bytes, stream: IO[bytes], name: str) -> Iterator[Any]:
    reader, total = io.BufferedReader(_Joined(first, stream)), 0
    while line := reader.readline(MAX_FILE + 1):
        total += len(line)
        if len(line) > MAX_FILE or total > MAX_TOTAL:
            raise ValueError("a line or the whole file is too large")
        if not line.strip():
            continue
        try:
            yield json.loads(line.decode("utf-8-sig", errors="replace"))
        except (ValueError, RecursionError) as error:
            yield RefusedError("unreadable record", brief(error))


class _Joined(io.RawIOBase):
    """A stream whose beginning was read already."""

    def __init__(self, first: bytes, rest: IO[bytes]) -> None:
        super().__init__()
        self._first, self._rest = io.BytesIO(first), rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._first.read(len(buffer)) or self._rest.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
