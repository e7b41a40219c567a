"""Folders that are written to: whether they can be, whether there is room, and who else can."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

from flows.doctor.finding import Finding, broken, ok, warning
from microscopy.cache import CACHE_VARIABLE, RESULTS_VARIABLE, cache_folder, cached_results

GIB = 2**30

LITTLE, NOTHING = 5 * GIB, GIB // 2
"""Bytes of free disk: below the first the end is near, below the second runs fail."""


def cache() -> Finding:
    """Examine the folder in which runs keep what they computed."""
    folder = cache_folder()
    elsewhere = f"automat prune --older-than 7d, or set {CACHE_VARIABLE} to a folder on another disk"
    # Who can write to the cache is told for the results, which are in it unless they were moved.
    return judge("cache", folder, elsewhere, shared=cached_results().is_relative_to(folder))


def results() -> Finding:
    """Examine the folder of Prefect's results: pickles, by which whoever can write there runs code as this user."""
    name, folder = "results", cached_results()
    found = judge(name, folder, f"set {RESULTS_VARIABLE} to a folder on another disk")
    here = _existing(folder)
    owner = here.stat().st_uid
    if found.remedy or here != folder or owner in (0, os.getuid()):
        return found
    return warning(
        name, f"{folder}: belongs to user {owner}, whose results would be trusted", "use a folder of one's own"
    )


def temporary() -> Finding:
    """Examine the folder of temporary files."""
    folder = Path(tempfile.gettempdir())
    return judge("temporary", folder, "set TMPDIR to a folder with more room", shared=True)


def judge(name: str, folder: Path, elsewhere: str, shared: bool = False) -> Finding:
    """Examine a folder that exists or is to be made; ``shared``: others may write there."""
    here = _existing(folder)
    if folder.exists() and here != folder:
        return broken(name, f"{folder}: is no folder", elsewhere)
    try:
        with tempfile.TemporaryFile(dir=here):
            pass
    except OSError as error:
        return broken(name, f"{folder}: cannot be written to ({error.strerror})", elsewhere)
    exposed = None if shared else exposure(folder)
    if exposed:
        fault = f"{exposed}: every user of this machine can put files there, and Prefect runs what is in them"
        return broken(name, fault, f"chmod o-w {exposed}, and delete what may have been put there")
    usage = shutil.disk_usage(here)
    text = f"{folder}: {usage.free / GIB:.1f} GiB free"
    if usage.free < NOTHING:
        return broken(name, text, elsewhere)
    if usage.free < LITTLE:
        return warning(name, text, elsewhere)
    return ok(name, text)


def exposure(folder: Path) -> Path | None:
    """Find what lets every user write into a folder: itself, or a folder above in which they could replace it."""
    for place in (folder, *folder.parents):
        mode = place.stat().st_mode if place.exists() else 0
        sticky = mode & stat.S_ISVTX and place != folder
        if mode & stat.S_IWOTH and not sticky:
            return place
    return None


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.is_dir())
