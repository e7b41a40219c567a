"""What commands use: seconds on the clock, seconds of processors, memory. Linux tells; nothing else is asked."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.materials import BenchmarkError


@dataclass(frozen=True)
class Usage:
    """What a finished command used, with every process that it started and waited for.

    Attributes
    ----------
    wall_s, cpu_s
        Seconds on the clock, and of processors.
    peak_mib
        Peak resident memory of its largest process.
    """

    wall_s: float
    cpu_s: float
    peak_mib: float


def used_by(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Usage:
    """Run a command to its end; what it says goes to a file.

    Raises
    ------
    BenchmarkError
        If it fails.
    """
    with log.open("ab") as sink:
        started = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchmarkError(f"{' '.join(command)} failed with code {process.returncode}; {log} has what it said")
    return Usage(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def cpu_seconds(pid: int) -> float:
    """Seconds of processors that a running process has used, with its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(cpu_seconds(int(child)) for child in children)
