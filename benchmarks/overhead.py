"""What orchestration costs: wall time of a run beyond the same work without Prefect.

    python -m benchmarks.overhead

Every stage is a fixed pause, so that only orchestration is measured. Each process imports the science, runs the stages
and saves their records; "plain" calls them as functions, the others as the tasks of a flow:

first     a new process with its own private server, the cache folder empty
cold      a new process with its own private server
running   in a process that has run before, against a server that is running
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

PAUSE = 0.2
"""Seconds that each stage pretends to compute."""

STAGES = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each kind but the first; medians are shown")
    parser.add_argument("--child", choices=["plain", "flow"], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        print(json.dumps(_plain() if options.child == "plain" else _flow(options.repeat)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        first = _process("flow", folder, 1)["seconds"]
        plain, cold, running = [], [], []
        for _ in range(options.repeat):  # in turn, so that other load on the machine meets all kinds alike
            plain.append(_process("plain", folder, 1)["seconds"])
            told = _process("flow", folder, options.repeat)
            cold.append(told["seconds"])
            running += told["running"]
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"plain    {median(plain):6.2f} s, of which {STAGES * PAUSE:.1f} s are the stages")
    print(f"first    {first - median(plain):+6.2f} s")
    print(f"cold     {median(cold) - median(plain):+6.2f} s")
    print(f"running  {median(running) - STAGES * PAUSE:+6.2f} s")
    return 0


def _process(kind: str, folder: str, repeat: int) -> dict[str, Any]:
    """Run in a new process; ``seconds`` is from its start to the end of its first run."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment["AUTOMAT_CACHE"] = folder
    command = [sys.executable, "-m", "benchmarks.overhead", "--child", kind, "--repeat", str(repeat)]
    started = time.time()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**told, "seconds": told["done"] - started}


def _stage(number: int, nonce: int) -> Any:
    from planning.records import Branch, Decision

    time.sleep(PAUSE)
    return Decision(Branch.ACCEPT, f"{number} {nonce}", "none")


def _import_science() -> None:
    """Import what a run of the command imports."""
    from flows import settings  # noqa: F401
    from planning import verify  # noqa: F401
    from reconstruction import reconstruct  # noqa: F401
    from reporting import report  # noqa: F401


def _plain() -> dict[str, Any]:
    from tasks.store import save

    _import_science()
    nonce = time.time_ns()
    for number in range(STAGES):
        save(_stage(number, nonce))
    return {"done": time.time()}


def _flow(repeat: int) -> dict[str, Any]:
    from flows.private_server import orchestration
    from microscopy.cache import cache_folder

    with orchestration(cache_folder()) as prefect:
        _import_science()
        from prefect import flow
        from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        from flows.journal import Journal
        from tasks.steps import step

        stages = [step(f"overhead-{number}")(_stage) for number in range(STAGES)]

        @flow(name="overhead")
        def run(nonce: int) -> None:
            journal = Journal()
            for number, stage in enumerate(stages):
                journal.call(stage, number, nonce)

        prefect.wait()
        running = []
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            run(time.time_ns())
            done = time.time()
            for _ in range(repeat):
                begun = time.perf_counter()
                run(time.time_ns())
                running.append(time.perf_counter() - begun)
    return {"done": done, "running": running}


if __name__ == "__main__":
    raise SystemExit(main())
