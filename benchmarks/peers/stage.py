"""The images of a plan handed to every competitor: rows of columns, of denoising and of template retrieval."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import Case
from benchmarks.evaluate import options
from benchmarks.label_matching import LabelMatcher
from benchmarks.libraries import alike
from benchmarks.materials import Material
from benchmarks.measuring import threads
from benchmarks.peers.compare import compare
from benchmarks.peers.specimen import Specimen
from benchmarks.results import Plan
from benchmarks.sweep import bench_of
from library.records import Template
from library.store import Library, open_libraries
from microscopy.simulation import simulate
from models.denoising import denoise
from reconstruction.retrieval import RetrievalOptions, retrieve
from tasks.store import write_atomically

ROWS = "peers/rows.json"

ALL_PAIRS = 2
"""Images on which label matching is timed with all labels segmented anew; the ranking is that of labels kept."""

MEASURES = ("columns.py", "image_quality.py", "label_matching.py")
"""Modules beside this package that the rows depend on."""

FIRST = (1, 3)
"""Ranks within which the right template is looked for."""


def compare_peers(plan: Plan, folder: Path, say: Callable[[str], None]) -> None:
    """Ask every competitor about every image of a plan, and keep the rows.

    Peers resume where they were stopped; rows that are there are not measured again.
    """
    if read_rows(folder, plan):
        return
    bench = bench_of(plan)
    library = open_libraries(list(bench.libraries) or None)
    specimens = [specimen(case, plan.materials[case.material], library, bench.cells) for case in plan.cases.values()]
    rows = []
    for row in compare(specimens, folder / "peers"):
        rows.append(row)
        say(f"{row['competitor']}, {row['id']} at {row['dose']:g} e/Å²: {row['problem'] or 'answered'}")
    rows += list(_retrieval(plan, specimens, library))
    write_atomically(folder / ROWS, json.dumps({"identity": _identity(plan), "rows": rows}).encode())


def read_rows(folder: Path, plan: Plan) -> list[dict[str, Any]]:
    """Rows kept for a plan; none when it has none, or they are of other code."""
    try:
        content = json.loads((folder / ROWS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return list(content["rows"]) if content["identity"] == _identity(plan) else []


def _identity(plan: Plan) -> str:
    """Digest of what the rows depend on: the product's code and library, and the code that asks and measures."""
    here = Path(__file__).parent
    state = hashlib.sha256(plan.identity.encode())
    for path in sorted([*here.glob("*.py"), *here.glob("*.txt"), *(here.parent / name for name in MEASURES)]):
        state.update(path.name.encode() + path.read_bytes())
    return state.hexdigest()[:16]


def specimen(case: Case, material: Material, library: Library, cells: Path) -> Specimen:
    """Noisy and noise-free image of a case; the elements are known."""
    simulation = simulate(material.structure, options(case), cells)
    clean = simulate(material.structure, replace(options(case), dose=None), cells)
    noisy = replace(simulation.micrograph, elements=material.elements)
    return Specimen(case.material, noisy, clean.micrograph.image, simulation.truth, library)


def _retrieval(plan: Plan, specimens: list[Specimen], library: Library) -> Iterator[dict[str, Any]]:
    """Rank of the right template, ours beside the published label matching, elements unknown and then known."""
    templates: list[Template] = [library.template(row) for row in range(len(library))]
    first = specimens[0]
    matcher = LabelMatcher.of(templates, first.pixel_size, first.micrograph.image.shape)
    same = {each.id: alike(plan.materials[each.id].structure, library) for each in specimens}
    for number, each in enumerate(specimens):
        right, known = same[each.id], each.micrograph.elements or ()
        image = denoise(each.micrograph).image
        with threads(1):
            if number < ALL_PAIRS:
                ranked, seconds = _timed(lambda image=image: matcher.rank(image, all_pairs=True))
                ids = [id for id, _ in ranked]
                yield _row(each, "label matching, all pairs", "unknown", ids, right, seconds, len(templates))
            ranked, seconds = _timed(lambda image=image: matcher.rank(image))
            ids = [id for id, _ in ranked]
            yield _row(each, "label matching, labels kept", "unknown", ids, right, seconds, len(templates))
            chosen = [matcher.choose(ranked, known)]
            yield _row(each, "label matching, labels kept", "given", chosen, right, seconds, len(templates))
            for elements, use in (("unknown", False), ("given", True)):
                search = RetrievalOptions(use_elements=use)
                found, seconds = _timed(lambda each=each, search=search: retrieve(each.micrograph, library, search))
                ids = [item.template for item in found.items]
                yield _row(each, "AutoMat", elements, ids, right, seconds, len(templates))


def _timed(compute: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    return compute(), time.perf_counter() - started


def _row(
    each: Specimen, competitor: str, elements: str, ids: list[str], right: set[str], seconds: float, templates: int
) -> dict[str, Any]:
    rank = next((number for number, id in enumerate(ids, 1) if id in right), None)
    return {
        "id": each.id,
        "dose": each.micrograph.dose,
        "competitor": competitor,
        "kind": "retrieval",
        "elements": elements,
        "templates": templates,
        "rank": rank,
        **{f"first{k}": rank is not None and rank <= k for k in FIRST},
        "seconds": float(np.round(seconds, 4)),
        "problem": "",
    }
