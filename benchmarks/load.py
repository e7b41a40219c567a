"""What a machine sustains: micrographs a minute, waiting times, the cost of orchestration, and memory over many runs.

    python -m benchmarks.load [--files 20] [--single 5] [--runs 100] [--document docs/faults.md]

Windows of the bundled micrograph, no two alike, go through the full flow with relaxation, as ``automat watch`` runs it:

sustained   all files are dropped at once; micrographs a minute from the first one complete to the last one answered
alone       one file at a time; seconds from a file being complete (stable and hashed) to its result being there
overhead    wall time of those runs beyond the time that their stages computed
memory      resident memory of one process that runs one reconstruction after the other, without relaxation
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from intake.errors import IntakeError
from intake.ledger import Ledger
from intake.places import LEDGER
from intake.records import Content, State

SIDE = 192
"""Pixels of a window: 3.8 nm."""

ELEMENTS = "Se,Sn"
TITLE = "load"
START = 300.0
FINISH = 900.0
"""Seconds that the watcher may take to start, and without any progress."""

FEWEST = 10
"""Runs of one process."""

WARM = 0.2
"""Share of the runs at the beginning that the slope of memory leaves out: caches fill."""


@dataclass(frozen=True)
class Answer:
    """One micrograph: seconds of its run, of its stages, and since 1970 when it was complete and when answered."""

    wall: float
    stages: float
    complete: float
    answered: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20, help="dropped at once")
    parser.add_argument("--single", type=int, default=5, help="dropped one at a time")
    parser.add_argument("--runs", type=int, default=100, help="in one process, for its memory")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1) // 2), help="micrographs at a time")
    parser.add_argument("--document", type=Path, help=f"whose block <!-- {TITLE} --> gets the table")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.runs < FEWEST:
        parser.error(f"--runs: the growth of memory needs {FEWEST} or more")
    if options.child:
        print(json.dumps(_memory(options.runs, Path(options.child))))
        return 0
    loads = [os.getloadavg()[0]]
    rows = _flow(options.files, options.single, options.workers)
    loads.append(os.getloadavg()[0])
    print(*(f"{what}: {value}" for what, value in rows), sep="\n", flush=True)
    rows += _one_process(options.runs)
    loads.append(os.getloadavg()[0])
    text = _table(rows, max(loads[:2]), loads[2])
    print(text)
    if options.document:
        from benchmarks.document import put  # imports Prefect, which a child sets up first

        put(options.document, TITLE, text)
    return 0


def window(number: int) -> np.ndarray:
    """Give a window of the bundled micrograph, another one for each number."""
    import tifffile

    from flows.cli import DEMO

    image = np.asarray(tifffile.imread(DEMO))
    places = np.random.default_rng(0).permutation((image.shape[0] - SIDE) * (image.shape[1] - SIDE))
    row, column = divmod(int(places[number]), image.shape[1] - SIDE)
    return image[row : row + SIDE, column : column + SIDE]


def _drop(folder: Path, number: int) -> None:
    from flows.cli import DEMO
    from microscopy.readers import read_micrograph
    from microscopy.writers import write_tiff

    size = read_micrograph(DEMO).pixel_size
    assert size is not None
    info = {"beam_energy": 3e5, "convergence_angle": 21.3, "dose": 3e4, "modality": "iDPC"}
    write_tiff(folder / f"window {number}.tif", window(number), size, info)


def _flow(files: int, single: int, workers: int) -> list[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drop = folder / "drop"
        drop.mkdir()
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
        environment |= {"AUTOMAT_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "flows.cli", "watch", str(drop), "--every", "2s", "--port", str(_port())]
        command += ["--workers", str(workers), "--elements", ELEMENTS]
        with (folder / "log").open("wb") as log:
            watcher = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            out = folder / "drop-results"
            _drop(drop, 0)  # loads weights and libraries; not counted
            _answered(out, 1, START + FINISH)
            for number in range(1, single + 1):
                _drop(drop, number)
                _answered(out, number + 1)
            alone = _answers(out)[1:]
            for number in range(single + 1, single + files + 1):
                _drop(drop, number)
            _answered(out, single + files + 1)
            together = _answers(out)[single + 1 :]
        except BaseException:
            sys.stderr.write((folder / "log").read_text(errors="replace")[-3000:])
            raise
        finally:
            with suppress(ProcessLookupError):
                os.killpg(watcher.pid, signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    watcher.wait(30)
                os.killpg(watcher.pid, signal.SIGKILL)
            watcher.wait()
    return [*_sustained(together, workers), *_alone(alone)]


def _sustained(answers: list[Answer], workers: int) -> list[tuple[str, str]]:
    minutes = (max(each.answered for each in answers) - min(each.complete for each in answers)) / 60
    busy = sum(each.stages for each in answers)
    return [
        (f"sustained, {len(answers)} files, {workers} at a time", f"{len(answers) / minutes:.1f} micrographs/min"),
        ("computing, of a worker's time", f"{busy / (60 * minutes * workers):.0%}"),
        ("orchestration within a run", f"{sum(each.wall for each in answers) / busy - 1:+.0%} of computing"),
    ]


def _alone(answers: list[Answer]) -> list[tuple[str, str]]:
    latencies = [each.answered - each.complete for each in answers]
    median, late = np.percentile(latencies, [50, 95])
    waits = np.median([each.answered - each.complete - each.wall for each in answers])
    stages = np.median([each.stages for each in answers])
    return [
        (f"complete to result, {len(answers)} files one at a time, p50", f"{median:.1f} s"),
        ("the same, p95", f"{late:.1f} s"),
        ("of which computing (median)", f"{stages:.1f} s"),
        ("of which until a worker begins (median)", f"{waits:.1f} s"),
    ]


def _answers(out: Path) -> list[Answer]:
    """Of all contents, in the order in which they were complete."""
    found = []
    for content in _contents(out):
        if content.state is not State.DONE:
            raise SystemExit(f"{content.name}: {content.reason}")
        result = json.loads((out / str(content.folder) / "result.json").read_text())
        marker = out / ".automat/finished" / f"{content.key}.json"
        stages = sum(result["timings_s"].values())
        found.append(Answer(content.seconds or 0.0, stages, content.seen_at, marker.stat().st_mtime))
    return found


def _answered(out: Path, count: int, patience: float = FINISH) -> None:
    """Wait until so many contents have an answer."""
    before, since = -1, time.monotonic()
    while (ended := sum(each.state in (State.DONE, State.FAILED) for each in _contents(out))) < count:
        if ended != before:
            before, since = ended, time.monotonic()
        if time.monotonic() - since > patience:
            raise SystemExit(f"{ended} of {count} micrographs have an answer, and no more within {patience:.0f} s")
        time.sleep(0.5)


def _contents(out: Path) -> list[Content]:
    with suppress(IntakeError), Ledger(out / LEDGER, readonly=True) as ledger:
        return ledger.contents()
    return []


def _port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _one_process(runs: int) -> list[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
        environment |= {"AUTOMAT_CACHE": f"{folder}/cache", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "benchmarks.load", "--child", folder, "--runs", str(runs)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the process whose memory is measured ended with {done.returncode}")
    memory = json.loads(done.stdout.splitlines()[-1])
    warm = memory[int(WARM * len(memory)) :]
    slope = np.polyfit(np.arange(len(warm)), warm, 1)[0]
    return [
        (
            f"memory of one process after {len(memory)} runs",
            f"{memory[-1]:.0f} MB ({memory[0]:.0f} MB after the first)",
        ),
        (f"growth, the first {WARM:.0%} left out", f"{slope:+.2f} MB a run"),
    ]


def _memory(runs: int, folder: Path) -> list[float]:
    """Resident memory in MB after each run."""
    from flows.private_server import orchestration
    from microscopy.cache import cache_folder

    memory = []
    with orchestration(cache_folder()) as prefect:
        import psutil

        from flows.reconstruct import reconstruct_file
        from flows.settings import load_settings

        prefect.wait()
        settings = load_settings(None, {"read": {"elements": ELEMENTS.split(",")}, "relaxation": False})
        for number in range(runs):
            _drop(folder, number)
            outcome = reconstruct_file(folder / f"window {number}.tif", settings, folder / "out")
            if outcome.result.error is not None:
                raise SystemExit(outcome.result.reason)
            memory.append(psutil.Process().memory_info().rss / 1e6)
    return memory


def _table(rows: list[tuple[str, str]], load: float, later: float) -> str:
    lines = ["| measured | |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)]
    note = (
        f"{os.cpu_count()} cores, load average up to {load:.1f} with the flow and {later:.1f} with the one process; "
        f"windows of {SIDE} × {SIDE} pixels"
    )
    return "\n".join([*lines, "", f"`python -m benchmarks.load`: {note}."])


if __name__ == "__main__":
    raise SystemExit(main())
