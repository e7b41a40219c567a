"""Folders, zip and tar archives of structure files.

Members of archives are parsed in memory: no name in one can point anywhere on disk, and nothing is written.
"""

from __future__ import annotations

import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from library.sources import bounded, mc2d
from library.sources.entry import Entry, Refusal, RefusedError, brief, printable
from library.sources.json_files import is_json, read_records
from library.sources.structure_files import EXTENSIONS, is_structure_file, parse, stem
from microscopy.errors import LibraryError

MAX_MEMBERS = 200_000
"""Files in one archive."""

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")

Items = Iterator[Entry | Refusal]


def is_archive(name: str) -> bool:
    """Whether a name is that of an archive that can be read."""
    return name.lower().endswith(ARCHIVES)


def read_folder(folder: Path, read: Callable[[Path], Items]) -> Items:
    """Structure files, databases and archives of a folder, recursively and in alphabetical order.

    Parameters
    ----------
    folder
        Links inside are followed only to places inside it.
    read
        How anything but a structure file is read.

    Raises
    ------
    LibraryError
        If nothing in the folder is a source.
    """
    if (listing := mc2d.find_list(folder)) is not None:
        yield from mc2d.read_mc2d(listing)
        return
    found = False
    failed: list[OSError] = []
    for path in _walk(folder, failed.append):
        name = path.relative_to(folder).as_posix()
        if is_structure_file(path.name):
            found = True
            yield from read_file(path, stem(name), folder.resolve().name, folder)
        elif path.suffix == ".db" or is_archive(path.name) or is_json(path.name):
            found = True
            try:
                _inside(path, folder)
                yield from read(path)
            except LibraryError as error:
                yield _refused(name, error)
    for problem in failed:
        yield Refusal(printable(str(problem.filename)), "unreadable folder", brief(problem))
    if not found:
        raise LibraryError(f"{folder}: no structures here ({EXTENSIONS}, .db, .json, {', '.join(ARCHIVES)})")


def read_file(path: Path, id: str, source: str, folder: Path | None = None) -> Items:
    """Structures of one file."""
    try:
        if folder is not None:
            _inside(path, folder)
        data = bounded.content(path, bounded.MAX_FILE)
    except RefusedError as error:
        yield _refused(id, error)
        return
    yield from parse(data, path.name, id, source)


def _walk(folder: Path, failed: Callable[[OSError], None]) -> Iterator[Path]:
    for root, folders, files in os.walk(folder, onerror=failed):
        folders.sort()
        yield from (Path(root) / name for name in sorted(files))


def _inside(path: Path, folder: Path) -> None:
    try:
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise RefusedError("link out of the folder", str(path))
        if not bounded.regular(path):
            raise RefusedError("not an ordinary file", str(path))
    except (OSError, RuntimeError) as error:
        raise RefusedError("unreadable file", str(error)) from error


def _refused(id: str, error: LibraryError) -> Refusal:
    if isinstance(error, RefusedError):
        return Refusal(printable(id), error.reason, printable(error.detail))
    return Refusal(printable(id), "unreadable file", printable(str(error)))


def read_archive(path: Path) -> Items:
    """Structure and JSON files of an archive; archives inside it are not opened.

    Raises
    ------
    LibraryError
        If the archive cannot be opened or holds too many files.
    """
    members = _zip_members if path.name.lower().endswith(".zip") else _tar_members
    version, found, left = bounded.file_digest(path), False, bounded.MAX_TOTAL
    try:
        for number, (name, size, opened) in enumerate(members(path)):
            if number >= MAX_MEMBERS:
                raise LibraryError(f"{path}: more than {MAX_MEMBERS} files in one archive; split it")
            short = PurePosixPath(name.replace("\\", "/")).name
            if is_archive(short):
                yield Refusal(printable(name), "archive inside an archive")
            elif is_structure_file(short) or is_json(short):
                found, left = True, left - size
                if left < 0:
                    raise RefusedError("archive too large", f"more than {bounded.MAX_TOTAL} bytes unpacked")
                yield from _read_member(name, short, opened, path.name, version)
    except RefusedError as error:
        yield _refused(path.name, error)
        return
    if not found:
        yield Refusal(printable(path.name), "no structure in file", "no structure file in the archive")


def _read_member(name: str, short: str, opened: Callable[[], IO[bytes]], source: str, version: str) -> Items:
    try:
        with opened() as stream:
            if is_json(short):
                yield from read_records(stream, short, version)
                return
            # The size in the header may lie; reading one byte more than allowed shows it.
            data = bounded.limited(stream, name)
    except RefusedError as error:
        yield _refused(stem(name), error)
        return
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, OSError, ValueError, RuntimeError, EOFError) as error:
        yield Refusal(stem(name), "unreadable file", brief(error))
        return
    yield from parse(data, short, stem(name), source)


Member = tuple[str, int, Callable[[], IO[bytes]]]


def _zip_members(path: Path) -> Iterator[Member]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise LibraryError(f"{path}: not a readable zip archive ({error})") from error
    with archive:
        for member in sorted(archive.infolist(), key=lambda m: m.filename):
            if not member.is_dir():
                yield member.filename, member.file_size, partial(_opened, archive, member)


def _opened(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # An LZMA stream may ask for gigabytes before its first byte.
        raise RefusedError("unreadable file", f"{member.filename}: compressed by an uncommon method")
    return archive.open(member)


class _Header(tarfile.TarInfo):
    """Refuses the headers of names that tarfile would read whole, however long they claim to be."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        header = super().frombuf(buf, encoding, errors)
        if header.type not in (*tarfile.REGULAR_TYPES, tarfile.GNUTYPE_SPARSE) and header.size > bounded.CHUNK:
            raise tarfile.ReadError("a header of more than a megabyte")
        return header


def _tar_members(path: Path) -> Iterator[Member]:
    """Ordinary files, in the order of the archive; links and devices are left out."""
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(bounded.open_maybe_gzip(path))
            archive = stack.enter_context(tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header))
        except _TAR_ERRORS as error:
            raise LibraryError(f"{path}: not a readable tar archive ({brief(error)})") from error
        total = 0
        while (member := _next(archive, stream)) is not None:
            # Members that are passed over are unpacked too: a compressed tar is one stream.
            total += member.size
            if total > bounded.MAX_TOTAL:
                raise RefusedError("archive too large", f"more than {bounded.MAX_TOTAL} bytes unpacked")
            if member.isreg():
                yield member.name, member.size, partial(_extracted, archive, member)
            archive.members = []  # type: ignore[attr-defined]  # every header is kept otherwise


_TAR_ERRORS = (tarfile.TarError, OSError, EOFError, zlib.error, ValueError)


def _next(archive: tarfile.TarFile, stream: IO[bytes]) -> tarfile.TarInfo | None:
    try:
        member = archive.next()
        if member is None:
            # tarfile takes a cut archive for a complete one; the checksum at the end of the gzip stream tells.
            stream.read(bounded.CHUNK)
        return member
    except _TAR_ERRORS as error:
        raise RefusedError("unreadable file", f"the archive ends early ({brief(error)})") from error


def _extracted(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(member)
    if stream is None:
        raise RefusedError("not an ordinary file", member.name)
    return stream
