"""What one micrograph costs in a process that stays, and what it costs Prefect's server."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.scaling.server import server
from benchmarks.scaling.teams import AUTOMAT
from benchmarks.scaling.usage import used_by

IDLE = 20.0
"""Seconds over which a server that has nothing to do is watched."""


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
        own = {
            **environment,
            "AUTOMAT_CACHE": str(out / "product-cache"),
            "PREFECT_HOME": str(out / "product-prefect"),
            "PREFECT_API_URL": there.url,
        }
        child = (sys.executable, "-m", "benchmarks.scaling.product", str(dataset), str(out))
        usage = used_by(child, own, out / "log.txt")
        time.sleep(5)  # what is under way reaches the database
        busy = there.cpu_s() - before - idle * (time.perf_counter() - started)
        after = there.stored()
        found = {
            "lines": [json.loads(line) for line in (out / "product.jsonl").read_text().splitlines()],
            "peak_mib": usage.peak_mib,
            "idle": idle,
            "server_cpu_s": busy,
            "server_bytes": after - stored if after is not None and stored is not None else None,
            "flow_runs": there.count("flow_runs"),
            "task_runs": there.count("task_runs"),
        }
    kept.write_text(json.dumps(found))
    return found
