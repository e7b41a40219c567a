"""Whether the service in a container works, as exit code 0: ``health.py server`` or ``health.py worker [NAME]``.

Nothing but the standard library is imported: this runs twice a minute in every container.
"""

from __future__ import annotations

import glob
import os
import socket
import sys
import time
import urllib.request
from pathlib import Path

FRESH = 60.0
"""Seconds; a worker leaves a sign of life each time it asks the server for work, every few seconds."""

TIMEOUT = 5.0
"""Seconds the server may take to answer; it needs no password for this question."""


def server(url: str) -> bool:
    """Whether the Prefect server answers."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=TIMEOUT) as response:
            return bool(response.status == 200)
    except (OSError, ValueError):
        return False


def worker(cache: Path, name: str, now: float) -> bool:
    """Whether a worker whose name begins so has spoken to the server lately."""
    signs = list(cache.joinpath("workers").glob(f"{glob.escape(name)}-*.json"))
    return any(now - sign.stat().st_mtime < FRESH for sign in signs)


def main(kind: str, name: str = "") -> int:
    """Exit code of the health check; workers are named after their machine unless they were given a name."""
    if kind == "server":
        return int(not server("http://127.0.0.1:4200/api"))
    return int(not worker(Path(os.environ["AUTOMAT_CACHE"]), name or socket.gethostname(), time.time()))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
