"""Where the project keeps what can be computed or fetched again."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Folder of the project's cache: ``AUTOMAT_CACHE``, or the user's cache folder of this platform."""
    given = os.environ.get("AUTOMAT_CACHE", "").strip()
    return Path(given or platformdirs.user_cache_dir("automat")).expanduser().absolute()
