"""Where things are: the output folder of a watched one, what is inside it, and names that are safe to show."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from intake.errors import IntakeError

LEDGER = "ledger.sqlite"
INTERNAL = ".automat"
"""Folder in the output folder for claims and finished markers."""

_UNSEEN = ("C", "Zl", "Zp")
"""Categories of Unicode that a terminal obeys, or that show nothing: control, format, surrogate, line separators."""


def default_out(root: Path) -> Path:
    """Output folder of a watched folder: ``<root>-results`` beside it."""
    root = Path(root).absolute()
    return root.parent / f"{root.name or 'root'}-results"


def find_out(folder: Path) -> Path:
    """Output folder for either a watched folder or an output folder.

    Raises
    ------
    IntakeError
        If neither holds a ledger.
    """
    folder = Path(folder).resolve()
    for out in (folder, default_out(folder)):
        if (out / LEDGER).is_file():
            return out
    raise IntakeError(
        f"{shown(str(folder))}: has no {LEDGER}, nor has {shown(default_out(folder).name)} beside it; "
        "give the folder that is watched, or the one with its results"
    )


def check_places(root: Path, out: Path) -> None:
    """Refuse folders that cannot be watched or written to.

    Raises
    ------
    IntakeError
        If the watched path is no folder, or results would go into the watched folder itself.
    """
    if root.exists() and not root.is_dir():
        raise IntakeError(f"{shown(str(root))}: is not a folder; give the folder that the microscope writes to")
    if root.resolve() == out.resolve():
        raise IntakeError(f"{shown(str(out))}: results cannot go into the watched folder itself; choose another --out")


def shown(text: str) -> str:
    r"""Make a text safe for a terminal and for one line: what cannot be seen becomes its escape, as in ``a\nb``."""
    return "".join(c if not unicodedata.category(c).startswith(_UNSEEN) else ascii(c)[1:-1] for c in text)
