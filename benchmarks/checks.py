"""What each check of the verdict is worth: its receiver operating characteristic on answers whose truth is known.

    python -m benchmarks.calibration --db FILE.db --skip IDS.txt --library DIR --limit 60 --seed 111 --out DIR
    python -m benchmarks.calibration --checks --db FILE.db --library DIR --limit 8 --seed 71 --out DIR
    python -m benchmarks.checks DIR/samples-seed111.jsonl DIR/checks-seed71.jsonl [--document docs/verification.md]

The first command makes the answers, right and wrong, the second relaxes them, too, which takes far longer; the third
prints the table of them all.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.document import put
from benchmarks.tables import Table
from planning.limits import LIMITS

TITLE = "checks"
"""Of the block in the document."""

KEPT = 0.99
"""Share of the right answers that the limit in the last column lets pass."""

FEWEST = 5
"""Right and wrong answers each, below which a curve says nothing."""


def table(samples: Sequence[dict[str, Any]]) -> Table:
    """One row a check, in the order of ``LIMITS``."""
    rows = []
    for name, limit in LIMITS.items():
        found = [(each["checks"][name], each["success"]) for each in samples if name in each["checks"]]
        values = np.array([value for value, _ in found], dtype=float)
        right = np.array([success for _, success in found], dtype=bool)
        if min(right.sum(), (~right).sum()) < FEWEST:
            continue
        passed = np.array([limit.passes(value) for value in values])
        merit = values if limit.least else -values
        rows.append(
            (
                name,
                f"{'≥' if limit.least else '≤'} {limit.value:g}",
                f"{right.sum()} / {(~right).sum()}",
                f"{area(merit, right):.3f}",
                f"{(~passed[right]).mean():.1%}",
                f"{(~passed[~right]).mean():.0%}",
                f"{np.quantile(values[right], 1 - KEPT if limit.least else KEPT):.3g}",
            )
        )
    head = (
        "check",
        "limit",
        "right / wrong",
        "AUC",
        "right that fail",
        "wrong that fail",
        f"passes {KEPT:.0%} of right",
    )
    return Table("Checks", head, tuple(rows))


def area(merit: np.ndarray, right: np.ndarray) -> float:
    """Area under the receiver operating characteristic: how often a right answer has more merit than a wrong one."""
    difference = merit[right][:, None] - merit[~right][None, :]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checks", description=main.__doc__)
    parser.add_argument("samples", type=Path, nargs="+", help="files that 'benchmarks.calibration' wrote")
    parser.add_argument("--document", type=Path, help="put the table into this document")
    options = parser.parse_args(arguments)
    lines = [json.loads(line) for path in options.samples for line in path.read_text(encoding="utf-8").splitlines()]
    samples = [sample for line in lines for sample in line["samples"]]
    right = sum(sample["success"] for sample in samples)
    told = f"{right} right and {len(samples) - right} wrong answers, {len(lines)} materials"
    text = f"{table(samples).markdown()}\n\n{told}"
    print(text)
    if options.document:
        put(options.document, TITLE, text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
