"""What commands use: seconds on the clock, seconds of processors, memory. Linux tells; nothing else is asked."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.materials import BenchmarkError

EVERY = 0.1
"""Seconds between two looks at a command's processes: what one uses after the last look is not seen."""


@dataclass(frozen=True)
class Usage:
    """What a finished command used, with every process that it started and waited for.

    Attributes
    ----------
    wall_s, cpu_s
        Seconds on the clock, and of processors.
    path_s
        Seconds of processors of the command's first process and of the busiest other one, together: on cores of their
        own the command takes no longer, if no process waits for anything else.
    peak_mib
        Peak resident memory of its largest process.
    """

    wall_s: float
    cpu_s: float
    path_s: float
    peak_mib: float


def used_by(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Usage:
    """Run a command to its end; what it says goes to a file.

    Raises
    ------
    BenchmarkError
        If it fails.
    """
    seen: dict[int, float] = {}
    with log.open("ab") as sink:
        started = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL)
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            seen |= processes(process.pid)
            time.sleep(EVERY)
        wall = time.perf_counter() - started
    _, status, used = ended
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchmarkError(f"{' '.join(command)} failed with code {process.returncode}; {log} has what it said")
    path = seen.pop(process.pid, 0.0) + max(seen.values(), default=0.0)
    return Usage(wall, used.ru_utime + used.ru_stime, path, used.ru_maxrss / 1024)


def processes(pid: int) -> dict[int, float]:
    """Seconds of processors that a running process and those it started, directly or not, have used, by their ids."""
    return dict(_processes(pid))


def _processes(pid: int) -> Iterator[tuple[int, float]]:
    folder = Path(f"/proc/{pid}")
    with suppress(OSError):  # it has ended
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        yield pid, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        for children in (folder / "task").glob("*/children"):
            for child in children.read_text().split():
                yield from _processes(int(child))
