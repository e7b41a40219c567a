"""What the language model is asked: a pure function of numbers and enumerations.

No text that comes from outside can get in: of a verdict the names, values, limits and outcomes of its checks, its
confidence and its status are sent; of everything else, numbers. Equal situations give equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from planning.limits import LIMITS
from planning.planner import Situation
from planning.records import Branch, Verdict

Message = dict[str, str]

DIGITS = 4
"""Significant digits of every number that is sent: more says nothing, and differs between machines."""

BRANCHES = {
    "accept": "stop; the best structure so far is reported, with its alternatives",
    "give_up": "stop; nothing found explains the image",
    "redenoise": "look for the lattice again, in the image denoised by the trained network",
    "next_template": "try the next hypothesis of the last search",
    "widen_search": "search again with templates strained by up to 20 %",
    "substitute": "search known structure types with the elements of the user put on their sites",
    "template_free": "build structures from the positions of the atomic columns alone",
    "try_supercell": "search again with larger cells of known crystals, which weak reflections may hint at",
    "drop_element_filter": "search all elements, not only those that the user named",
}
"""What each branch does."""

OTHER = "other"
"""Stands for a check that has no limit in ``planning.limits``."""

SYSTEM = "\n".join(
    [
        "You plan the next attempt of a program that reconstructs the crystal of a 2D material from one noisy",
        "electron micrograph. An attempt has failed some of its checks. Choose the branch most likely to lead to",
        "the right structure; stop when no branch is likely to help. You get one JSON object of measured numbers:",
        "checks (name, value, limit, passed), confidence (probability that the answer is right), status, attempt,",
        "tried (branches taken so far), likeness (best correlation of a known structure seen through a distorted",
        "scan), candidates_left (untried hypotheses), element_filter (the user named elements), made (the structure",
        "was made, not known), and legal, the branches to choose from. null means not known.",
        "",
        "Branches:",
        *(f"- {name}: {meaning}" for name, meaning in BRANCHES.items()),
        "",
        "Checks:",
        *(f"- {name}: {limit.meaning}" for name, limit in LIMITS.items()),
        "",
        "Answer with one JSON object and nothing else: branch, one of legal, and reason, one short sentence.",
        'Example: {"branch": "widen_search", "reason": "The fit is poor although the lattice is strong."}',
    ]
)
"""The same for every question."""


def question(
    verdict: Verdict | None, tried: Sequence[Branch], situation: Situation, legal: Sequence[Branch]
) -> list[Message]:
    """Two messages: what the words mean, and the numbers.

    Parameters
    ----------
    verdict
        Of the last attempt; None when a stage of it failed.
    tried
        Branches taken so far.
    situation
        What is still possible; its fields are numbers.
    legal
        Branches to choose from.
    """
    contents: dict[str, Any] = {
        **{name: _number(value) for name, value in asdict(situation).items()},
        "attempt": len(tried) + 1,
        "checks": [
            {
                "name": check.name if check.name in LIMITS else OTHER,
                "value": _number(check.value),
                "limit": _number(check.limit),
                "passed": bool(check.passed),
            }
            for check in (verdict.checks if verdict else ())
        ],
        "confidence": _number(verdict.confidence) if verdict else None,
        "legal": [Branch(branch).value for branch in legal],
        "status": verdict.status.value if verdict else None,
        "tried": [Branch(branch).value for branch in tried],
    }
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": canonical(contents)}]


def fingerprint(messages: Sequence[Message]) -> str:
    """Sha256 of a question, by which a recorded answer is found again whatever model gave it."""
    return hashlib.sha256(canonical(list(messages)).encode()).hexdigest()


def canonical(value: Any) -> str:
    """JSON text that is the same for the same contents."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _number(value: object) -> float | int | bool | None:
    """A number to `DIGITS` digits; None for what is not finite.

    Raises
    ------
    TypeError
        If it is anything else: text is never sent.
    """
    if not isinstance(value, int | float):
        raise TypeError(f"a {type(value).__name__} is no number")
    if isinstance(value, int):
        return value
    rounded = float(f"{value:.{DIGITS}g}")  # which may be infinite where the value is not
    return rounded if math.isfinite(rounded) else None
