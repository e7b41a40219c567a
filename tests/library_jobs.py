"""Work on libraries for workers in other processes; ``jobs`` is quicker to import."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from library.preparing import prepare_batch


def dying_batch(items, modalities, work: Path):
    """Make a batch, but for the first one that any worker begins."""
    trace = work.parents[1] / "died"  # beside the library
    if not trace.exists():
        trace.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return prepare_batch(items, modalities, work)
