"""The fence around other people's parsers: their noise stays inside, their exceptions come out as one line."""

from __future__ import annotations

import logging
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from microscopy.errors import ReadError

_LOGGERS = ("rsciio", "tifffile", "h5py", "PIL")
_MAX_REASON = 160


@contextmanager
def guarded(path: Path, what: str) -> Iterator[None]:
    """Turn any exception raised while reading ``path`` as ``what`` into a ReadError; silence warnings and logs."""
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                yield
            except ReadError:
                raise
            except Exception as error:
                message = _message(path, what, error)
                # Half-read files hang on the frames of the traceback; let go of them while warnings are silenced.
                traceback.clear_frames(error.__traceback__)
                raise ReadError(message) from None
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _message(path: Path, what: str, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"{path}: permission denied; make the file readable"
    if isinstance(error, FileNotFoundError):
        return f"{path}: no such file"
    if isinstance(error, MemoryError):
        return f"{path}: does not fit in memory; crop or bin it"
    if isinstance(error, OSError) and error.strerror and error.errno:
        return f"{path}: cannot be read ({error.strerror})"
    reason = " ".join(str(error).split()) or type(error).__name__
    reason = reason if len(reason) <= _MAX_REASON else reason[:_MAX_REASON] + "…"
    return f"{path}: cannot be read as {what} ({reason}); it may be truncated or damaged, export it again"
