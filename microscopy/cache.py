"""Where the project keeps what can be computed or fetched again."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "AUTOMAT_CACHE"
"""Environment variable that moves the cache folder."""


def cache_folder() -> Path:
    """Folder of the project's cache: ``AUTOMAT_CACHE``, or the user's cache folder of this platform."""
    given = os.environ.get(CACHE_VARIABLE, "").strip()
    return Path(given or platformdirs.user_cache_dir("automat")).expanduser().absolute()
