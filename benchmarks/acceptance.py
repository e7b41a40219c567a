"""What is accepted, and whether it is right: status against truth, in the four regimes.

    python -m benchmarks.acceptance --db FILE.db --library LIB --limit 40 --seed 2024 --out DIR

Regime I: template in the library, elements given; II: elements unknown; III and IV: the same with the material, and all
that look alike, withheld. Without relaxation, first attempt only, as the planner has not looked yet.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pymatgen.core import Structure

from benchmarks.metrics import score, wilson
from benchmarks.reconstruct_suite import Settings, materials, view_of
from library.store import Library, open_libraries
from microscopy.simulation import simulate
from planning.verify import verify
from reconstruction.reconstruct import reconstruct
from reconstruction.retrieval import RetrievalOptions, looks_alike, retrieve

REGIMES = {"I": (True, False), "II": (False, False), "III": (True, True), "IV": (False, True)}
"""Elements given, material withheld."""


def judge(
    name: str, truth: Structure, library: Library, doses: list[float], seed: int, work: Path
) -> Iterator[dict[str, Any]]:
    """Status and correctness of one material in every regime at every dose."""
    symbols = tuple(sorted({site.specie.symbol for site in truth}))
    alike = alike_ids(truth, library)
    for dose in doses:
        settings = Settings(dose, "given", False, "chain", seed, (512, 512), 0.1)
        image = simulate(truth, view_of(name, settings), work / "cells").micrograph
        for regime, (given, withheld) in REGIMES.items():
            micrograph = replace(image, elements=symbols if given else None, formula=None, metadata={})
            found = retrieve(micrograph, library, RetrievalOptions(exclude=alike if withheld else ()))
            answer = reconstruct(micrograph, found) if found.items else None
            verdict = verify(micrograph, found, answer, None)
            yield {
                "id": name,
                "regime": regime,
                "dose": dose,
                "status": str(verdict.status),
                "confidence": verdict.confidence,
                "answer": answer.candidate.template if answer else None,
                "right": bool(answer and score(answer.symmetrised, truth).success),
            }


def alike_ids(truth: Structure, library: Library) -> tuple[str, ...]:
    """Templates that are the same material, whatever their id."""
    rows = library.rows(formula=truth.composition.reduced_formula)
    return tuple(library.ids[row] for row in rows if looks_alike(library.template(int(row)).structure, truth))


def table(lines: list[dict[str, Any]]) -> str:
    """Markdown: one row for each regime and dose."""
    text = [
        "| regime | dose | accepted, right | ambiguous, right | rejected | accepted answers that are right |",
        "|" + "---|" * 6,
    ]
    for regime, dose in sorted({(line["regime"], line["dose"]) for line in lines}):
        chosen = [line for line in lines if (line["regime"], line["dose"]) == (regime, dose)]
        count = Counter((line["status"], line["right"]) for line in chosen)
        accepted = count["accepted", True] + count["accepted", False]
        low, high = wilson(count["accepted", True], accepted) if accepted else (0.0, 1.0)
        text.append(
            f"| {regime} | {dose:g} | {accepted}, {count['accepted', True]} "
            f"| {count['ambiguous', True] + count['ambiguous', False]}, {count['ambiguous', True]} "
            f"| {count['rejected', True] + count['rejected', False]} "
            f"| {count['accepted', True]} of {accepted} ({low:.0%} to {high:.0%}) |"
        )
    return "\n".join(text)


def main(arguments: list[str] | None = None) -> int:
    """Run and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.acceptance", description=__doc__.split("\n")[0])
    parser.add_argument("--db", type=Path, required=True, help="ASE database with the true structures")
    parser.add_argument("--library", type=Path, required=True, help="library built from it")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--dose", type=float, action="append", help="repeatable; 1e3 and 1e4 by default")
    parser.add_argument("--out", type=Path, required=True, help="folder for answers and cached cell images")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    doses = options.dose or [1e3, 1e4]
    library = open_libraries([options.library])
    lines: list[dict[str, Any]] = []
    for name, truth in materials(options.db, None, options.limit, options.seed):
        lines += judge(name, truth, library, doses, options.seed, options.out)
        print(f"{name} {truth.composition.reduced_formula}", file=sys.stderr, flush=True)
    (options.out / f"acceptance-seed{options.seed}.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines)
    )
    print(table(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
