"""Checks, verdicts and decisions: the part of a run that a person reads as a story."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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


@dataclass(frozen=True)
class Decision:
    """One step of the planner: the branch taken, why, and who chose it (``rules``, ``llm``, ``replay``, ``none``).

    ``asked``: a language model, or its log, was asked; where the rules chose all the same, the reason says why.
    """

    branch: Branch
    reason: str
    chosen_by: str
    asked: bool = False
