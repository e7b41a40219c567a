"""Files that appear complete or not at all, and the digest of one."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

READABLE = 0o644
"""Mode of what is written: a temporary file is its maker's alone, a result is for whoever may look."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file beside ``path``, of its suffix, that takes its place when the block succeeds.

    When it does not succeed, Ctrl-C included, the temporary file is removed and ``path`` is as it was.

    Raises
    ------
    OSError
        If its folder does not exist, is full or may not be written to.
    """
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=path.suffix, delete=False) as stream:
            temporary = Path(stream.name)
        yield temporary
        temporary.chmod(READABLE)
        temporary.replace(path)
        temporary = None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file of any size.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
