"""What a run reads besides its image: found by name or folder, known by digest."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microscopy.errors import LibraryError, ReadError
from tasks.caching import LibraryRef, PotentialRef, SourceFile
from tasks.store import cache_folder

if TYPE_CHECKING:
    from planning.llm.decide import Adviser
    from planning.planner import Planner

LLM_LOG = Path("planner") / "llm.jsonl"
"""Where in the cache folder the exchanges with a language model are logged."""


def source_file(path: Path) -> SourceFile:
    """Digest an input file.

    Raises
    ------
    ReadError
        If it cannot be opened.
    """
    from microscopy import readers

    try:
        return SourceFile(path, readers.digest(path))
    except OSError as error:
        raise ReadError(f"{path}: {error.strerror or error}") from error


def library_ref(paths: Sequence[Path]) -> LibraryRef:
    """Identify the libraries in some folders; the embedded one when there is none."""
    from library import store

    names = tuple(str(path) for path in paths)
    return LibraryRef(names, store.open_libraries([Path(name) for name in names] or None).digest)


@lru_cache(maxsize=2)
def open_library(ref: LibraryRef) -> Any:
    """Open what a reference names, once per process.

    Raises
    ------
    LibraryError
        If it has changed since the reference was made.
    """
    from library import store

    library = store.open_libraries([Path(path) for path in ref.paths] or None)
    if library.digest != ref.digest:
        raise LibraryError(f"{', '.join(ref.paths) or 'the embedded library'}: changed during the run; run again")
    return library


def potential_ref(wanted: str | None) -> PotentialRef:
    """Identify a potential by its weights."""
    from models import potentials

    found = potentials.load_potential(wanted)
    return PotentialRef(wanted, found.name, found.checkpoint, found.fallback)


def planner_ref(wanted: str) -> Planner | Adviser:
    """Prepare a planner by its name in the settings.

    Raises
    ------
    LlmError
        If no language model is configured, or the log to replay cannot be read.
    """
    if wanted == "rules" or wanted == "none":
        return wanted
    from planning.llm.decide import adviser

    return adviser(wanted, cache_folder() / LLM_LOG)
