"""Which contents a person means: by path, by name, by the beginning of a digest or by the folder of results."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from intake.errors import IntakeError
from intake.folder import FileState, Seen
from intake.ledger import Ledger
from intake.places import shown
from intake.records import Content, State

_DIGEST = re.compile(r"[0-9a-f]{6,64}")


def choose(ledger: Ledger, wanted: Iterable[str], root: Path | None) -> list[Content]:
    """Contents that can be processed again: failed ones, and done ones where no failed one is meant.

    Parameters
    ----------
    ledger
        Open in any way.
    wanted
        What was typed: paths (as seen from here, or relative to the watched folder), names, digests or their first six
        digits at least, names of run folders.
    root
        The watched folder; None if it was never looked at.

    Raises
    ------
    IntakeError
        If something means nothing, or only what cannot be processed again; the message says which and why.
    """
    contents, files = ledger.contents(), ledger.files(gone=True)
    chosen: dict[str, Content] = {}
    for text in wanted:
        chosen |= {content.sha256: content for content in _meant(text, contents, files, root)}
    return list(chosen.values())


def _meant(text: str, contents: list[Content], files: dict[str, Seen], root: Path | None) -> list[Content]:
    paths = _paths(text, root)
    seen = [each for path, each in files.items() if path in paths or path.rpartition("/")[2] == text]
    digests = {each.sha256 for each in seen}
    found = [each for each in contents if each.sha256 in digests or _names(text, each, paths)]
    for state in (State.FAILED, State.DONE):
        if again := [each for each in found if each.state is state]:
            return again
    if found:
        raise IntakeError(f"{shown(text)} is {found[0].state} already; 'automat status' shows it")
    if seen:
        raise IntakeError(f"{shown(text)}: {_unread(seen[0])}")
    raise IntakeError(f"nothing is called {shown(text)}; 'automat status' lists what there is")


def _names(text: str, content: Content, paths: set[str]) -> bool:
    if content.path in paths or text in (content.name, content.folder):
        return True
    return _DIGEST.fullmatch(text.lower()) is not None and content.sha256.startswith(text.lower())


def _paths(text: str, root: Path | None) -> set[str]:
    """Paths relative to the watched folder that may be meant."""
    paths = {Path(text).as_posix()}
    if root is None:
        return paths
    here = Path(text).absolute()
    for base, path in ((root, here), (root.resolve(), here), (root.resolve(), here.resolve())):
        if path.is_relative_to(base):
            paths.add(path.relative_to(base).as_posix())
    return paths


def _unread(seen: Seen) -> str:
    if seen.state is FileState.REFUSED:
        return f"was refused ({seen.reason}); it is taken as soon as that is no longer so"
    if seen.state is FileState.IGNORED:
        return f"is ignored ({seen.reason})"
    if seen.state is FileState.GONE:
        return "is gone, and was never complete"
    return f"is not complete yet ({seen.reason or 'it may still be written to'})"
