"""Where the project keeps what can be computed or fetched again."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "AUTOMAT_CACHE"
"""Environment variable that moves the cache folder."""

RESULTS_VARIABLE = "PREFECT_RESULTS_LOCAL_STORAGE_PATH"
"""Environment variable that moves the results of steps, which are in the cache folder otherwise."""


def cache_folder() -> Path:
    """Folder of the project's cache: ``AUTOMAT_CACHE``, or the user's cache folder of this platform."""
    return _given(CACHE_VARIABLE) or Path(platformdirs.user_cache_dir("automat")).absolute()


def cached_records() -> Path:
    """Folder of what the steps of runs have computed."""
    return cache_folder() / "records"


def cached_results() -> Path:
    """Folder of Prefect's results, which say what was computed of what: ``results`` in the cache, or elsewhere."""
    return _given(RESULTS_VARIABLE) or cache_folder() / "results"


def _given(variable: str) -> Path | None:
    text = os.environ.get(variable, "").strip()
    return Path(text).expanduser().absolute() if text else None
