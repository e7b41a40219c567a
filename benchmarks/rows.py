"""Records of a run as flat rows, one an answer: what every table and curve is made of."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from benchmarks.cases import Case, case_from_json

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, eq=False)
class Row:
    """One answer.

    Attributes
    ----------
    case, regime, variant, tier
        What was asked.
    answer
        As recorded; empty when the image could not be made.
    formula
        Of the truth.
    error
        Why there is no answer; empty when there is one.
    """

    case: Case
    regime: str
    variant: str
    tier: int
    answer: Mapping[str, Any]
    formula: str
    error: str = ""

    @property
    def score(self) -> Mapping[str, Any]:
        """Numbers of the comparison with the truth; empty without a structure."""
        return self.answer.get("score") or {}

    @property
    def answered(self) -> bool:
        """Whether there is a structure."""
        return bool(self.score)

    @property
    def success(self) -> bool:
        """Whether it is right in projection."""
        return bool(self.score.get("success"))

    @property
    def success_3d(self) -> bool:
        """Whether it is right with its heights."""
        return bool(self.score.get("success_3d"))

    @property
    def rmsd(self) -> float | None:
        """Å, projected; None when formula or lattice differ."""
        return self.score.get("rmsd_projected")

    @property
    def accepted(self) -> bool:
        """Whether the product stands by it."""
        return self.answer.get("status") == "accepted"

    @property
    def confidence(self) -> float:
        """What the product thinks of it, 0 to 1."""
        return float(self.answer.get("confidence") or 0.0)

    @property
    def cause(self) -> str:
        """Where it went wrong, see ``benchmarks.attribution``."""
        return str(self.answer.get("cause") or "failure")

    def hit(self, k: int) -> bool:
        """Whether the truth is among the first ``k`` structures."""
        rank = self.answer.get("hit")
        return rank is not None and rank <= k


def rows_of(records: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Flatten records; an image that failed fails every question that was to be asked of it."""
    rows = []
    for record in records:
        case = case_from_json(record["case"])
        tier = int(record["tier"])
        if record.get("error"):
            rows += [
                Row(case, q.regime, q.variant.name, tier, {}, record["formula"], record["error"])
                for q in case.questions
            ]
            continue
        rows += [
            Row(case, each["regime"], each["variant"], tier, each, record["formula"], each.get("error", ""))
            for each in record["answers"]
        ]
    return rows


def grouped(rows: Sequence[Row], key: Callable[[Row], K]) -> dict[K, list[Row]]:
    """Rows by key, keys in the order in which they first come."""
    groups: dict[K, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups
