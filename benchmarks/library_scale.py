"""How a template library grows: the rate of building, its size, and the time and recall of a search.

    python -m benchmarks.library_scale --sizes 1000 10000 100000 1000000 --out DIR [--document docs/library.md]

builds libraries of seeded variants of the embedded one (``benchmarks.variants``), unless they are in DIR already, and
measures each. Queries are fingerprints of other variants, with noise; recall is against comparing all rows. Label
matching is measured on `LABELS` templates, and its time, which is proportional to the library, scaled.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure

from benchmarks.document import put
from benchmarks.label_matching import LabelMatcher, label_image
from benchmarks.variants import variants
from library import workers
from library.build import MODALITIES, add_entries, build_from_entries
from library.fingerprint import fingerprints
from library.folder import files_of
from library.index import exact_search
from library.preparing import clean_all
from library.store import Library, open_libraries
from microscopy.micrograph import Modality
from microscopy.slab import plane_cell
from reconstruction.retrieval import RetrievalOptions

SEED, OTHER_SEED = 1, 2
"""Of the libraries, and of what is asked of them and added to them."""

QUERIES = 200
NOISE = 0.02
"""Standard deviation of the noise on each component of a query, whose length is one: that of an image at some 10⁴ e/Å²
leaves the right template at a cosine of about 0.96."""

ADDED = 100
LABELS = 200
FIELD, PIXEL = (512, 512), (0.1, 0.1)
"""Pixels and Å per pixel of the label images."""

TITLE = "library scale"


def build(size: int, folder: Path, processes: int) -> float | None:
    """Build the library of a size; seconds, or None when it was there already or had been begun."""
    if (folder / "manifest.json").exists():
        return None
    begun, started = folder.exists(), time.perf_counter()
    entries = variants(open_libraries(None), size, SEED)
    facts = {"command": "python -m benchmarks.library_scale"}
    build_from_entries(entries, folder, MODALITIES, facts, _say, workers.processes(processes))
    return None if begun else time.perf_counter() - started


def measure(folder: Path) -> dict[str, Any]:
    """Everything that is measured of a finished library."""
    opening, library = timed(lambda: Library.open(folder))
    queries, structures = questions()
    patterns = library.sections[0].patterns(Modality.IDPC)
    library.search(queries[0], Modality.IDPC, 100)  # the index is read once
    free, filtered, found, fitting = [], [], [], []
    for query, structure in zip(queries, structures, strict=True):
        fitting.append(len(library.rows(lattice=plane_cell(structure), strain=RetrievalOptions().strain)))
        elements = structure.symbol_set
        seconds, (rows, _) = timed(lambda query=query: library.search(query, Modality.IDPC, 100))
        free.append(seconds)
        found.append(rows)
        filtered.append(
            timed(
                lambda query=query, elements=elements: library.search(
                    query, Modality.IDPC, 100, library.rows(elements=elements)
                )
            )[0]
        )
    exact, truth = timed(lambda: [exact_search(patterns, query[None], 100)[0][0] for query in queries])
    return {
        "count": len(library),
        "bytes": sum(facts["bytes"] for facts in files_of(library.manifest)),
        "index_bytes": sum(facts["bytes"] for facts in library.manifest["indices"].values()),
        "open_s": opening,
        "add_s": adding(folder),
        "query_s": np.percentile(free, [50, 95]).tolist(),
        "filtered_s": np.percentile(filtered, [50, 95]).tolist(),
        "fitting": float(np.mean(fitting)) / len(library),
        "exact_s": exact / len(queries),
        "recall": {k: recall(found, truth, k) for k in (10, 100)},
    }


def recall(found: Sequence[np.ndarray], truth: Sequence[np.ndarray], k: int) -> float:
    """Share of the k best rows that were found among k."""
    return float(np.mean([np.isin(right[:k], rows[:k]).mean() for rows, right in zip(found, truth, strict=True)]))


def questions() -> tuple[np.ndarray, list[Structure]]:
    """Fingerprints like those of images, and their materials."""
    entries = islice(variants(open_libraries(None), 2 * QUERIES, OTHER_SEED), 2 * QUERIES)
    structures = [template.structure for template in clean_all(entries)[0][:QUERIES]]
    patterns = fingerprints(structures, Modality.IDPC)
    noisy = np.maximum(patterns + np.random.default_rng(SEED).normal(0, NOISE, patterns.shape), 0)
    noisy /= np.linalg.norm(noisy, axis=1, keepdims=True)
    return noisy.astype(np.float32), structures


def adding(folder: Path) -> float:
    """Seconds in which `ADDED` entries join a copy of a library; its files, which nobody alters, are linked."""
    entries = list(variants(open_libraries(None), ADDED, OTHER_SEED))
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        copy = shutil.copytree(folder, Path(place) / "copy", copy_function=os.link)
        (copy / ".lock").unlink()  # which is written to
        return timed(lambda: add_entries(entries, copy, {"command": "benchmark"}))[0]


def label_matching() -> float:
    """Seconds per template that label matching takes for one image, as published."""
    library = open_libraries(None)
    rows = np.random.default_rng(SEED).choice(len(library), LABELS, replace=False)
    matcher = LabelMatcher.of([library.template(int(row)) for row in rows], PIXEL, FIELD)
    image = label_image(library.template(0), PIXEL, FIELD).astype(float)
    return timed(lambda: matcher.rank(image, all_pairs=True))[0] / LABELS


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call takes, and its result."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Markdown, one row for each library."""
    rows = [
        "| templates | built, 1/s | bytes each | 100 added, s | opened, ms | query p50 / p95, ms | elements known, ms "
        "| cells that fit | one by one, ms | recall@10 | recall@100 | label matching, s |",
        "|" + "---:|" * 12,
    ]
    for line in sorted(lines, key=lambda each: each["count"]):
        (p50, p95), (known, _), (ten, hundred) = line["query_s"], line["filtered_s"], line["recall"].values()
        rate = f"{line['count'] / line['build_s']:.0f}" if line["build_s"] else "–"
        rows.append(
            f"| {line['count']:,} | {rate} | {line['bytes'] / line['count']:.0f} | {line['add_s']:.2f} "
            f"| {line['open_s'] * 1e3:.0f} | {p50 * 1e3:.1f} / {p95 * 1e3:.1f} | {known * 1e3:.1f} "
            f"| {line['fitting']:.0%} | {line['exact_s'] * 1e3:.1f} | {ten:.3f} | {hundred:.3f} "
            f"| {line['label_s'] * line['count']:.3g} |"
        )
    return "\n".join(rows)


def _say(stage: str, done: int, total: int | None) -> None:
    if done % 10_240 == 0 or done == total:
        print(f"{time.strftime('%H:%M:%S')} {stage} {done}/{total or '?'}", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Build, measure, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.library_scale", description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="folder for the libraries and what was measured")
    parser.add_argument("--document", type=Path, help="put the table into this document")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    label_s = label_matching()
    for size in options.sizes:
        folder, log = options.out / f"library-{size}", options.out / f"library-{size}.json"
        seconds = build(size, folder, options.processes)
        if seconds is None and log.exists():
            seconds = json.loads(log.read_text())["build_s"]
        log.write_text(json.dumps({"build_s": seconds}))
        log.write_text(json.dumps({"build_s": seconds, "label_s": label_s, **measure(folder)}))
        print(log.read_text(), file=sys.stderr)
    found = table([json.loads(log.read_text()) for log in options.out.glob("library-*.json")])
    print(found)
    if options.document:
        put(options.document, TITLE, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
