"""Work for workers in other processes: what they run must be importable."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def square(number: int) -> int:
    return number**2


def fail(number: int) -> int:
    raise ValueError(f"cannot do {number}")


def die_once(number: int, traces: Path) -> int:
    """Three ends its worker, the first time that it is begun anywhere."""
    trace = traces / "died"
    if number == 3 and not trace.exists():
        trace.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return square(number)


def die(number: int, traces: Path) -> int:
    """Three ends its worker, whenever it is begun."""
    if number == 3:
        (traces / f"death-{os.getpid()}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return square(number)
