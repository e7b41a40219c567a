"""The product's flow on every image of a data set, on one thread, in a process that stays.

    python -m benchmarks.scaling.product DATASET OUT

Prefect reads its settings when it is imported: nothing here may import it before `orchestration` has set them.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.measuring import peak_mib, reset_peak
from flows.private_server import orchestration
from microscopy.cache import cache_folder

KNOWN, UNKNOWN = "elements given", "elements unknown"


def run(dataset: Path, out: Path) -> None:
    """Reconstruct every image twice; a line of each goes to ``OUT/product.jsonl``."""
    manifest = json.loads((dataset / "manifest.json").read_text())
    with orchestration(cache_folder()) as prefect, (out / "product.jsonl").open("w") as sink:
        from flows.cli import DEMO, DEMO_ELEMENTS

        prefect.wait()
        reconstruct(DEMO, {"elements": DEMO_ELEMENTS}, out)  # imports, weights and the library are read once
        for image in manifest["images"]:
            path = dataset / image["image"]
            elements = _elements(dataset / image["truth"])
            for told, read in ((KNOWN, {"elements": elements}), (UNKNOWN, {})):
                line = reconstruct(path, read, out)
                sink.write(json.dumps({"told": told, "image": image["key"], **line}) + "\n")
                sink.flush()


def reconstruct(path: Path, read: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Reconstruct one image; returns seconds, peak memory and bytes, and ``stages``: CPU seconds of each."""
    from flows.reconstruct import Journal, reconstruct_file
    from flows.settings import load_settings

    stages: Counter[str] = Counter()
    call = Journal.call

    def counted(journal: Journal, step: Any, *arguments: Any) -> Any:
        started = time.process_time()
        ref = call(journal, step, *arguments)
        stages[step.name] += time.process_time() - started
        return ref

    cached = size(cache_folder())
    reset_peak()
    cpu, wall = time.process_time(), time.perf_counter()
    with patch.object(Journal, "call", counted):  # the product's timings are of the clock
        outcome = reconstruct_file(path, load_settings(None, {"read": dict(read)}), out / "results")
    return {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "peak_mib": peak_mib(),
        "stages": dict(stages),
        "status": str(outcome.result.status),
        "result_bytes": size(outcome.folder) if outcome.folder else 0,
        "cache_bytes": size(cache_folder()) - cached,
    }


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def _elements(truth: Path) -> tuple[str, ...]:
    from pymatgen.core import Structure

    return tuple(sorted(Structure.from_file(truth).symbol_set))


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]))
