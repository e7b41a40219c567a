"""Walk through a folder that others write to: what is a file of ours, and what is refused or ignored at sight."""

from __future__ import annotations

import errno
import os
import stat
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from intake.errors import IntakeError, VanishedError
from intake.opening import inside, kind
from intake.places import check_places, shown
from microscopy.readers.formats import FORMATS, TIA

SIDECARS = (".toml", ".json")

_TEMPORARY = ("~", ".part", ".partial", ".tmp", ".crdownload", ".filepart")
"""Endings of names under which programs write before they rename; such files are not even listed."""

_SKIPPED = {"@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
"""Folders that file servers keep on a share, some with pictures in them."""

_RESULT = "result.json"
"""What makes a folder one of results."""

_SUFFIXES = frozenset(suffix for each in FORMATS for suffix in each.suffixes)
_HEADER, _PIXELS = TIA.suffixes[1], TIA.suffixes[0]
_GONE = (errno.ENOENT, errno.ENOTDIR)


@dataclass(frozen=True)
class Found:
    """A path in the folder.

    Attributes
    ----------
    path
        Relative to the folder, with ``/``.
    size, mtime_ns
        Of all parts: sum and latest.
    parts
        Files to read, links resolved.
    verdict
        "refused" or "ignored" and why; None for a file to be read.
    """

    path: str
    size: int = 0
    mtime_ns: int = 0
    parts: tuple[str, ...] = ()
    verdict: tuple[str, str] | None = None


class Walk:
    """One walk through a folder.

    Attributes
    ----------
    unread
        Sub-folders (``path/``) that could not be read: nothing is known about what is in them.
    """

    def __init__(self, root: Path, out: Path | None, max_bytes: int) -> None:
        self.unread: list[str] = []
        self._root = Path(root)
        self._out = out
        self._max_bytes = max_bytes

    def entries(self, expected: bool) -> Iterator[Found]:
        """Everything in the folder and below, in no particular order.

        Parameters
        ----------
        expected
            Whether there was anything before.

        Raises
        ------
        VanishedError
            If the folder cannot be read, is another than at the beginning, or is empty although it was not.
        """
        if self._out is not None:
            check_places(self._root, self._out)
        skipped = _stat(self._out)
        identity = self._identity()
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(self._root / folder) as listing:
                    entries = list(listing)
            except OSError as error:
                if not folder:
                    raise self._vanished(error.strerror or str(error)) from None
                if error.errno not in _GONE:
                    self.unread.append(folder)
                    yield Found(folder, verdict=("refused", f"the folder cannot be read ({error.strerror})"))
                continue
            if not folder and not entries and expected:
                raise self._vanished("it is empty, and was not")
            if folder and any(entry.name == _RESULT for entry in entries):
                yield Found(folder, verdict=("ignored", f"results of an earlier run (it has a {_RESULT})"))
                continue
            beside = _Beside(entry.name for entry in entries)
            for entry in entries:
                if entry.name.startswith(".") or entry.name in _SKIPPED or entry.name.lower().endswith(_TEMPORARY):
                    continue
                if _is_folder(entry) and _is_utf8(entry.name):
                    if skipped is None or not os.path.samestat(skipped, entry.stat(follow_symlinks=False)):
                        folders.append(f"{folder}{entry.name}/")
                    continue
                try:
                    found = self._judged(folder, entry, beside)
                except OSError as error:  # as of a file that was renamed meanwhile
                    if error.errno not in _GONE:
                        found = Found(folder + entry.name, verdict=("refused", f"cannot be read ({error.strerror})"))
                    else:
                        continue
                yield found
        if self._identity() != identity:
            raise self._vanished("another folder is in its place")

    def _judged(self, folder: str, entry: os.DirEntry[str], beside: _Beside) -> Found:
        path = folder + entry.name
        if not _is_utf8(entry.name):
            return Found(path, verdict=("refused", "its name is not UTF-8; rename it"))
        status, target = entry.stat(follow_symlinks=False), entry.path
        if stat.S_ISLNK(status.st_mode):
            try:
                target = str(inside(Path(target), self._root))
            except IntakeError as error:
                return Found(path, mtime_ns=status.st_mtime_ns, verdict=("refused", str(error)))
            status = os.lstat(target)
            if stat.S_ISDIR(status.st_mode):
                return Found(path, mtime_ns=status.st_mtime_ns, verdict=("ignored", "a link to a folder"))
        if problem := kind(status.st_mode):
            return Found(path, mtime_ns=status.st_mtime_ns, verdict=("refused", f"is {problem}, not a file"))
        suffix = _suffix(entry.name)
        parts = [(target, status)]
        if suffix == _HEADER:
            pixels = [Path(entry.path).with_name(name) for name in beside.pixels_of(Path(entry.name).stem)]
            parts += [(str(part), part.lstat()) for part in pixels]
        size = sum(part.st_size for _, part in parts)
        latest = max(part.st_mtime_ns for _, part in parts)
        verdict = _by_name(entry.name, suffix, beside) or self._by_size([part for _, part in parts])
        return Found(path, size, latest, tuple(part for part, _ in parts), verdict)

    def _by_size(self, parts: Sequence[os.stat_result]) -> tuple[str, str] | None:
        size = max(sum(part.st_size for part in parts), sum(part.st_blocks * 512 for part in parts))
        if size <= self._max_bytes:
            return None
        limit = self._max_bytes / (1 << 30)
        return "refused", f"{size / (1 << 30):.3g} GiB; at most {limit:.3g} GiB are read, export single images"

    def _identity(self) -> tuple[int, int]:
        try:
            status = self._root.stat()
        except OSError as error:
            raise self._vanished(error.strerror or str(error)) from None
        return status.st_dev, status.st_ino

    def _vanished(self, why: str) -> VanishedError:
        return VanishedError(
            f"{shown(str(self._root))}: cannot be looked at ({why}); if it is a network share, mount it again. "
            "What is known about its files stays as it is"
        )


class _Beside:
    """The names in one folder, for formats that need two files."""

    def __init__(self, names: Iterable[str]) -> None:
        paths = [Path(name) for name in names if name.lower().endswith((_HEADER, _PIXELS))]
        self._headers = {path.stem for path in paths if path.suffix.lower() == _HEADER}
        self._pixels = sorted(path.name for path in paths if path.suffix == _PIXELS)

    def pixels_of(self, stem: str) -> list[str]:
        """Names of the files with the pixels of a header, as `microscopy.readers.digest` takes them."""
        first, last = bisect_left(self._pixels, f"{stem}_"), bisect_left(self._pixels, f"{stem}`")  # ` follows _
        return self._pixels[first:last]

    def has_header(self, stem: str) -> bool:
        """Whether a file with pixels belongs to a header."""
        return any(stem[:end] in self._headers for end, character in enumerate(stem) if character == "_")


def _by_name(name: str, suffix: str, beside: _Beside) -> tuple[str, str] | None:
    if suffix in SIDECARS:
        return "ignored", "metadata, read together with its micrograph"
    if suffix not in _SUFFIXES:
        return "ignored", f"no micrograph format ({shown(suffix) or 'no suffix'})"
    if suffix == _PIXELS and beside.has_header(Path(name).stem):
        return "ignored", f"read together with its {_HEADER} file"
    return None


def _suffix(name: str) -> str:
    """Path(name).suffix in lower case, and ten times as fast."""
    stem, dot, suffix = name.rpartition(".")
    return f".{suffix}".lower() if stem and suffix and dot else ""


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _stat(path: Path | None) -> os.stat_result | None:
    try:
        return path.stat() if path is not None else None
    except OSError:
        return None
