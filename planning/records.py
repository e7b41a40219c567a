"""Checks, verdicts and decisions: the part of a run that a person reads as a story."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from reconstruction.records import Reconstruction


class Status(StrEnum):
    """What became of one input."""

    ACCEPTED = "accepted"
    AMBIGUOUS = "ambiguous"
    REJECTED = "rejected"
    FAILED = "failed"


class Branch(StrEnum):
    """What the planner may do next."""

    ACCEPT = "accept"
    REDENOISE = "redenoise"
    NEXT_TEMPLATE = "next_template"
    WIDEN_SEARCH = "widen_search"
    SUBSTITUTE = "substitute"
    TRY_SUPERCELL = "try_supercell"
    TEMPLATE_FREE = "template_free"
    DROP_ELEMENT_FILTER = "drop_element_filter"
    GIVE_UP = "give_up"


@dataclass(frozen=True)
class Check:
    """One named test: the measured value, the limit it was held against, and the outcome."""

    name: str
    value: float
    limit: float
    passed: bool
    meaning: str


@dataclass(frozen=True)
class Verdict:
    """All checks of one attempt, the confidence that the structure is right, and the status they imply."""

    checks: tuple[Check, ...]
    confidence: float
    status: Status
    reason: str

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the checks that failed, those that decide nothing included."""
        return tuple(check.name for check in self.checks if not check.passed)


@dataclass(frozen=True)
class Found:
    """What one attempt came to, in brief.

    Attributes
    ----------
    formula, template, origin
        Of the structure, as in ``reconstruction.records.Candidate``; empty when no hypothesis fits.
    status, confidence
        Of the verdict.
    failed
        Names of the checks that failed.
    kept
        Whether this is the attempt that the run's answer is from.
    """

    formula: str
    template: str
    origin: str
    status: Status
    confidence: float
    failed: tuple[str, ...]
    kept: bool


def in_brief(verdict: Verdict, reconstruction: Reconstruction | None, kept: bool) -> Found:
    """An attempt in brief."""
    if reconstruction is None:
        return Found("", "", "", verdict.status, verdict.confidence, verdict.failed, kept)
    candidate = reconstruction.candidate
    formula = str(reconstruction.structure.composition.reduced_formula)
    return Found(
        formula, candidate.template, candidate.origin, verdict.status, verdict.confidence, verdict.failed, kept
    )


@dataclass(frozen=True)
class Decision:
    """One step of the planner: the branch taken, why, and who chose it (``rules``, ``llm``, ``replay``, ``none``).

    ``asked``: a language model, or its log, was asked; where the rules chose all the same, the reason says why.
    """

    branch: Branch
    reason: str
    chosen_by: str
    asked: bool = False
