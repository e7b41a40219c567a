"""The protocol's tables: ours beside the published ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.cases import REGIMES
from benchmarks.rows import Row, grouped
from benchmarks.stem2crystal.metrics import FAILURES, UNANSWERED, Sample, aggregate, sample_of
from benchmarks.stem2crystal.published import COLUMNS, SYNTHETIC
from benchmarks.tables import Table


def figures(rows: Sequence[Row]) -> Table:
    """The protocol's figures, ours beside the published ones, level by level."""
    cells = []
    for level, group in grouped(rows, lambda row: row.case.noise).items():
        for regime, answers in grouped(group, lambda row: row.regime).items():
            found = aggregate([_sample(row) for row in answers])
            cells.append((level, f"this run, {REGIMES[regime].meaning}", str(len(answers)), *_figures(found)))
        for method, published in SYNTHETIC.get(level, {}).items():
            cells.append((level, f"{method}, published", "1021", *_figures(published)))
    note = (
        "Published figures are of other materials (C2DB and MC2D) and of the protocol's own images, which cannot be "
        "had here; the strengths of the noise levels are ours. SG-Acc is of the three-dimensional space group."
    )
    return Table("STEM2Crystal-Bench's protocol", ("noise", "method", "images", *COLUMNS), tuple(cells), note)


def failure_modes(rows: Sequence[Row]) -> Table:
    """Why the protocol's misses are misses."""
    cells = []
    for (level, regime), group in grouped(rows, lambda row: (row.case.noise, row.regime)).items():
        answered = [sample for sample in map(_sample, group) if sample.answered]
        counted = Counter(sample.failure for sample in answered)
        counts = (*(counted[name] for name in ("hit", *FAILURES)), len(group) - len(answered))
        cells.append((level, REGIMES[regime].meaning, *(str(count) for count in counts)))
    columns = ("noise", "regime", "hit", *FAILURES, "no structure")
    return Table("STEM2Crystal failure modes", columns, tuple(cells))


def _sample(row: Row) -> Sample:
    """The protocol's score of an answer; a run that failed has no candidates."""
    return sample_of(row.answer["stem2crystal"]) if "stem2crystal" in row.answer else UNANSWERED


def _figures(found: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple("–" if found.get(name) is None else f"{found[name]:.4f}" for name in COLUMNS)
