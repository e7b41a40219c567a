"""Memory and processors, as far as this process may use them: a container may have less than its machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from flows.doctor.finding import Finding, broken, ok, warning

GIB = 2**30

NEEDED, COMFORTABLE = GIB, 2 * GIB
"""Bytes of memory below which a reconstruction is killed, and below which it may be: ``automat demo`` takes 0.9 GB."""

MEMORY = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")

THREADS = "OMP_NUM_THREADS"


def memory(meminfo: Path = MEMORY, cgroup: Path = CGROUP) -> Finding:
    """Memory in all and at hand."""
    facts = dict(line.split(":") for line in meminfo.read_text().splitlines() if ":" in line)
    total, available = (int(facts[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    with suppress(OSError, ValueError, IndexError):
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        total, available = min(total, limit), min(available, max(0, limit - used))
    text = f"{available / GIB:.1f} of {total / GIB:.1f} GiB free"
    if total < NEEDED:
        return broken("memory", f"{text}; a reconstruction needs {NEEDED / GIB:.0f}", "use a larger machine or limit")
    if available < COMFORTABLE:
        return warning("memory", text, "end other programs, or give workers a smaller --limit")
    return ok("memory", text)


def processors(environment: Mapping[str, str] = os.environ, usable: int | None = None) -> Finding:
    """Processors, and the threads that numerical code starts on each."""
    count = usable or len(os.sched_getaffinity(0))
    given = environment.get(THREADS, "").strip()
    text = f"{count}, {THREADS}={given}" if given else f"{count}; one run at a time uses all of them"
    if given and not (given.isdecimal() and int(given) > 0):
        return broken("processors", f"{text} is no number of threads", f"correct {THREADS} or unset it")
    if given and int(given) > count:
        return warning("processors", f"{text}: more threads than processors", f"set {THREADS} to {count} or less")
    return ok("processors", text)
