"""The cache of a machine that is left alone: looked at every hour, and kept within a limit."""

from __future__ import annotations

import logging
import threading
import time

from tasks.upkeep import prune

INTERVAL = 3600.0
"""Seconds between two looks."""

logger = logging.getLogger("automat")


def keep_within(limit: int) -> None:
    """Keep the cache within so many bytes from now on, as long as this process lives; 0: let it grow."""
    if limit:
        threading.Thread(target=_keep, args=(limit,), name="room", daemon=True).start()


def _keep(limit: int) -> None:
    while True:
        look(limit)
        time.sleep(INTERVAL)


def look(limit: int) -> None:
    """Make room once, and say so; a disk that is away is looked at again in an hour."""
    try:
        done = prune(keep=limit)
    except OSError as error:
        logger.warning("the cache could not be looked through: %s", error.strerror or error)
        return
    if done.freed:
        logger.info("removed %.1f GB from the cache, which nobody had used for longest", done.freed / 1e9)
    if done.kept.bytes > limit:
        logger.warning(
            "the cache holds %.1f GB, more than %.1f GB: what was used within a day stays",
            *(done.kept.bytes / 1e9, limit / 1e9),
        )
    for trouble in done.troubles:
        logger.warning("%s", trouble)
