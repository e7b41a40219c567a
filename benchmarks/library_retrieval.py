"""Retrieval from a large library: how often the right template comes first, and among the first ten.

    python -m benchmarks.library_retrieval --db FILE.db [--ids IDS.txt] --library DIR/library-100000 --out DIR

The library of the database is joined with a large one (``benchmarks.library_scale``). Materials of the database are
imaged by multislice, and every image is searched with the elements of the material given, and without. A template
counts that is the material by its structure, whatever its id. Of a small cell an image holds a handful of reflections,
and among a hundred thousand structures tens explain them as well as the true one: an image counts as tied when the
true template, found in the library of the database alone, is as likely as the tenth of the large one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import Case
from benchmarks.document import put
from benchmarks.evaluate import picture
from benchmarks.libraries import alike, source_library
from benchmarks.materials import Material, draw, load_materials
from library.store import Library, open_libraries
from planning.limits import LIMITS
from reconstruction.hypotheses import log_posterior
from reconstruction.records import Candidates
from reconstruction.retrieval import retrieve

TITLE = "library retrieval"

TOP = 10

AS_LIKELY = LIMITS["margin"].value
"""Log odds within which two hypotheses are not told apart."""


def answers(
    material: Material, library: Library, own: Library, dose: float, seed: int, cells: Path
) -> Iterator[dict[str, Any]]:
    """Search for one material with its elements known and unknown: rank of the first right candidate, or None.

    ``own`` is the library of the database alone, from which it is told how likely the true template is.
    """
    image = replace(picture(Case(material.id, (), dose=dose, seed=seed), material, cells).micrograph, metadata={})
    right = alike(material.structure, library)
    for known in (True, False):
        micrograph = replace(image, elements=material.elements if known else None, formula=None)
        started = time.perf_counter()
        found = retrieve(micrograph, library)
        seconds = time.perf_counter() - started
        ranks = (rank for rank, each in enumerate(found.items, 1) if each.template in right)
        rank = next(ranks, None)
        yield {
            "id": material.id,
            "formula": material.formula,
            "known": known,
            "rank": rank,
            "tied": rank is not None or _tied(retrieve(micrograph, own), found, right),
            "lattice": found.lattice is not None,
            "held": bool(right),
            "answer": found.items[0].template if found.items else None,
            "seconds": seconds,
        }


def _tied(own: Candidates, found: Candidates, right: set[str]) -> bool:
    """Whether the true template, where it is found, is as likely as the last of those kept of the large library."""
    true = max((log_posterior(each) for each in own.items if each.template in right), default=-np.inf)
    return bool(found.items) and true > log_posterior(found.items[-1]) - AS_LIKELY


def table(lines: Sequence[dict[str, Any]], templates: int) -> str:
    """Markdown: shares of images whose material came first, among the first ten, and there or tied with the tenth."""
    head = "| elements | images | templates | first | among ten | among ten or tied | s per image |"
    rows = [head, "|---|" + "---:|" * 6]
    for known in (True, False):
        some = [line for line in lines if line["known"] is known and line["held"]]
        first, ten = (sum((line["rank"] or TOP + 1) <= limit for line in some) for limit in (1, TOP))
        seconds = sorted(line["seconds"] for line in some)
        shares = (share / len(some) for share in (first, ten, sum(line["tied"] for line in some)))
        rows.append(
            f"| {'known' if known else 'unknown'} | {len(some)} | {templates:,} "
            f"| {' | '.join(f'{share:.1%}' for share in shares)} | {seconds[len(some) // 2]:.1f} |"
        )
    return "\n".join(rows)


def main(arguments: list[str] | None = None) -> int:
    """Search for every material of a draw and print the shares."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.library_retrieval", description=__doc__.split("\n")[0])
    parser.add_argument("--db", type=Path, required=True, help="ASE database with the true structures")
    parser.add_argument("--ids", type=Path, help="file of ids to draw from, one a line")
    parser.add_argument("--library", type=Path, required=True, help="large library that is searched, too")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--max-atoms", type=int, default=12)
    parser.add_argument("--seed", type=int, default=301)
    parser.add_argument("--dose", type=float, default=1e4, help="e/Å²")
    parser.add_argument("--out", type=Path, required=True, help="folder for answers, cached images and the library")
    parser.add_argument("--document", type=Path, help="put the table into this document")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    published = source_library(options.db, options.out, lambda *_: None)
    own, library = open_libraries(list(published)), open_libraries([*published, options.library])
    ids = options.ids.read_text().split() if options.ids else None
    available = [each for each in load_materials(options.db, ids)[0] if len(each.structure) <= options.max_atoms]
    log = options.out / "library-retrieval.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {line["id"] for line in lines}
    with log.open("a") as stream:
        for material in draw(available, options.limit, options.seed):
            if material.id in done:
                continue
            news = list(answers(material, library, own, options.dose, options.seed, options.out / "cells"))
            stream.write("".join(json.dumps(line) + "\n" for line in news))
            stream.flush()
            lines += news
            print(*news, sep="\n", file=sys.stderr)
    found = table(lines, len(library))
    print(found)
    if options.document:
        put(options.document, TITLE, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
