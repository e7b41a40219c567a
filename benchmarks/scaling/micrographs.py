"""What one micrograph costs in a process that stays: the product's flow, on one thread, against a whole server.

Run in a process of its own, see `measure`: ``python -m benchmarks.scaling.micrographs DATASET OUT``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.measuring import peak_mib, reset_peak
from benchmarks.scaling.server import server
from benchmarks.scaling.teams import AUTOMAT
from benchmarks.scaling.usage import size, used_by

IDLE = 20.0
"""Seconds over which a server that has nothing to do is watched."""

KNOWN, UNKNOWN = "elements given", "elements unknown"


def measure(out: Path, materials: int, database: str | None = None) -> dict[str, Any]:
    """Run the images of the suite ``quick`` through the product; lines of each, and what the server used.

    What is measured is kept in ``out``, and is not measured again.
    """
    kept = out / "micrographs.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"OMP_NUM_THREADS": "1", "AUTOMAT_CACHE": str(out / "cache")}
    dataset = out / "dataset"
    build = (*AUTOMAT, "bench", "build", "quick", "--limit", str(materials), "--out", str(dataset))
    used_by(build, environment, out / "log.txt")
    with server(out / "server", database) as there:
        began, started = there.cpu_s(), time.perf_counter()
        time.sleep(IDLE)
        idle = (there.cpu_s() - began) / (time.perf_counter() - started)
        before, stored, started = there.cpu_s(), there.stored(), time.perf_counter()
        own = {**environment, "AUTOMAT_CACHE": str(out / "micrographs-cache"), "PREFECT_API_URL": there.url}
        child = (sys.executable, "-m", "benchmarks.scaling.micrographs", str(dataset), str(out))
        usage = used_by(child, own, out / "log.txt")
        time.sleep(5)  # what is under way reaches the database
        busy = there.cpu_s() - before - idle * (time.perf_counter() - started)
        after = there.stored()
        found = {
            "lines": [json.loads(line) for line in (out / "micrographs.jsonl").read_text().splitlines()],
            "peak_mib": usage.peak_mib,
            "idle": idle,
            "server_cpu_s": busy,
            "server_bytes": after - stored if after is not None and stored is not None else None,
            "flow_runs": there.count("flow_runs"),
            "task_runs": there.count("task_runs"),
        }
    kept.write_text(json.dumps(found))
    return found


def run(dataset: Path, out: Path) -> None:
    """Reconstruct every image of a data set twice, and write a line of each."""
    from flows.server import orchestration
    from microscopy.cache import cache_folder

    manifest = json.loads((dataset / "manifest.json").read_text())
    with orchestration(cache_folder()) as prefect, (out / "micrographs.jsonl").open("w") as sink:
        from flows.cli import DEMO, DEMO_ELEMENTS

        prefect.wait()
        _reconstruct(DEMO, {"elements": DEMO_ELEMENTS}, out)  # imports, weights and the library are read once
        for image in manifest["images"]:
            path = dataset / image["image"]
            elements = _elements(dataset / image["truth"])
            for told, read in ((KNOWN, {"elements": elements}), (UNKNOWN, {})):
                line = _reconstruct(path, read, out)
                sink.write(json.dumps({"told": told, "image": image["key"], **line}) + "\n")
                sink.flush()


def _reconstruct(path: Path, read: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Reconstruct one image; what it used, and the seconds of its stages."""
    from flows.reconstruct import reconstruct_file
    from flows.settings import load_settings
    from microscopy.cache import cache_folder

    cached = size(cache_folder())
    reset_peak()
    cpu, wall = time.process_time(), time.perf_counter()
    outcome = reconstruct_file(path, load_settings(None, {"read": dict(read)}), out / "results")
    return {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "peak_mib": peak_mib(),
        "stages": outcome.result.timings_s,
        "status": str(outcome.result.status),
        "result_bytes": size(outcome.folder) if outcome.folder else 0,
        "cache_bytes": size(cache_folder()) - cached,
    }


def _elements(truth: Path) -> tuple[str, ...]:
    from pymatgen.core import Structure

    return tuple(sorted(Structure.from_file(truth).symbol_set))


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]))
