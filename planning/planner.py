"""The rule planner: which branches may follow a failed check, and which one is taken.

Deterministic and bounded: each branch that changes the search is taken at most once, the next hypothesis at
most until the attempts are used up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from planning.limits import deciding
from planning.records import Branch, Decision, Status, Verdict

MAX_ATTEMPTS = 8
"""Attempts on one image: the first, one of each branch that changes the search, and one more hypothesis."""

Planner = Literal["rules", "none"]

HOPELESS = frozenset({"one_lattice"})
"""Checks that nothing can mend: two crystals stay two."""

UNSEEN = frozenset({"lattice"})
"""No template makes an image periodic, but the trained denoiser sees a lattice in less of an image: in a small field of
view, at a low dose. What it sees is then measured on the image as recorded."""

FOR_LATTICE = (Branch.REDENOISE,)

UNFINISHED = frozenset({"relaxation"})
"""A relaxation that met its limits says nothing against the structure; another one would meet them, too."""

STABILITY = frozenset({"distances", "displacement", "relaxed_strain", "moved", "energy"})
"""The structure fits the image but is no stable crystal: another hypothesis may be."""

AMBIGUITY = frozenset({"margin"})
"""Hypotheses that fit equally well stay so: the honest end is an ambiguous answer with its alternatives."""

LARGER = frozenset({"superstructure"})
"""The structure explains all but weak reflections: of a larger cell."""

FOR_FIT = (
    Branch.WIDEN_SEARCH,
    Branch.TRY_SUPERCELL,
    Branch.SUBSTITUTE,
    Branch.TEMPLATE_FREE,
    Branch.DROP_ELEMENT_FILTER,
)
"""After any other check, the structure does not explain the image: look further, in the order of how often that helps.
The next hypothesis fits worse."""

MADE = frozenset({Branch.SUBSTITUTE, Branch.TEMPLATE_FREE})
"""Branches that make structures."""

ALIKE = 0.95
"""Correlation from which a known structure seen through a distorted scan is not given up for one that is made to fit:
whatever bends the scan also bends what is made of it, and freedom always fits better. The right ones have 0.99 and more
under shear and a wrong pixel size, look-alikes of another size 0.92."""

RESEMBLES = 0.9
"""Correlation from which a known structure behind a distorted scan is preferred to a made one that does not explain the
image either: on micrographs of real specimens the right one has 0.91, and nothing fits them within the noise."""

DOUBT = 0.1
"""Confidence below which what the user said of the specimen is doubted, too."""

DECISIVE = 10.0
"""Log odds over the next structure beyond which an unstable one is not given up for it: instability then says more of
the potential, or of the material, than of the hypothesis."""

FOR_SUPERCELL = (Branch.TRY_SUPERCELL, Branch.WIDEN_SEARCH)
FOR_STABILITY = (Branch.NEXT_TEMPLATE, Branch.WIDEN_SEARCH)

FOR_CONFIDENCE = (Branch.WIDEN_SEARCH, Branch.SUBSTITUTE)
"""Every check passed, but answers like this are seldom right: with a wrong pixel size a look-alike may fit. A structure
that is made of the elements given, at the size as stated, may fit as well."""


@dataclass(frozen=True)
class Situation:
    """What is still possible.

    Attributes
    ----------
    candidates_left
        Hypotheses of the last search that have not been tried.
    element_filter
        Whether elements or a formula given by the user restricted the last search: what can be dropped, or built with.
    likeness
        Best correlation so far of a known structure seen through a distorted scan.
    made
        Whether the last attempt's structure was made, not known: of such ones several share a projection, and differ in
        their heights, which only energies tell apart.
    """

    candidates_left: int
    element_filter: bool
    likeness: float = 0.0
    made: bool = False


def plan(
    verdict: Verdict | None,
    tried: Sequence[Branch],
    situation: Situation,
    planner: Planner = "rules",
    max_attempts: int = MAX_ATTEMPTS,
) -> Decision:
    """Decide what follows an attempt.

    Parameters
    ----------
    verdict
        Of the last attempt; None when a stage of it failed.
    tried
        Branches taken so far, in order; one fewer than the attempts made.
    situation
        What is still possible.
    planner
        ``"none"`` keeps whatever the first attempt gave.
    max_attempts
        Upper bound on attempts.
    """
    if verdict is not None and verdict.status is Status.ACCEPTED:
        return Decision(Branch.ACCEPT, verdict.reason or "every check passed", planner)
    end = Branch.GIVE_UP if verdict is None or verdict.status is Status.REJECTED else Branch.ACCEPT
    why = _why(verdict)
    if planner == "none":
        return Decision(end, f"{why}; no planner", planner)
    if len(tried) + 1 >= max_attempts:
        return Decision(end, f"{why}; {max_attempts} attempts made", planner)
    legal = legal_branches(verdict, tried, situation)
    if not legal:
        return Decision(end, f"{why}; no other branch can mend that", planner)
    return Decision(legal[0], why, planner)


def settled(verdict: Verdict) -> bool:
    """Whether nothing but the stability of the structure can still change what is done about it."""
    return verdict.status is not Status.REJECTED and _failed(verdict) <= STABILITY | AMBIGUITY | UNFINISHED


def legal_branches(verdict: Verdict | None, tried: Sequence[Branch], situation: Situation) -> tuple[Branch, ...]:
    """Branches that may follow, preferred first.

    The user's elements are doubted only when nothing made of them resembles the image, or hardly.
    """
    hopeless = verdict is None or verdict.status is Status.REJECTED or verdict.confidence < DOUBT
    return tuple(
        branch
        for branch in _remedies(verdict, situation)
        if _possible(branch, tried, situation) and (hopeless or branch is not Branch.DROP_ELEMENT_FILTER)
    )


def _remedies(verdict: Verdict | None, situation: Situation) -> tuple[Branch, ...]:
    look_further = tuple(branch for branch in FOR_FIT if situation.likeness < ALIKE or branch not in MADE)
    if verdict is None:
        return look_further
    failed = _failed(verdict)
    if not failed and verdict.status is Status.AMBIGUOUS:
        return FOR_CONFIDENCE
    if failed & HOPELESS:
        return ()
    if failed & UNSEEN:
        return FOR_LATTICE
    if failed - STABILITY - AMBIGUITY - UNFINISHED - LARGER:
        return look_further
    if failed & LARGER:
        return FOR_SUPERCELL
    return FOR_STABILITY if failed & STABILITY and (situation.made or not _decisive(verdict)) else ()


def _failed(verdict: Verdict) -> set[str]:
    """Names of the failed checks that decide something."""
    return {check.name for check in deciding(verdict.checks)}


def _decisive(verdict: Verdict) -> bool:
    """Whether the image leaves no other hypothesis that energies could decide for."""
    return any(check.name == "margin" and check.value > DECISIVE for check in verdict.checks)


def _possible(branch: Branch, tried: Sequence[Branch], situation: Situation) -> bool:
    match branch:
        case Branch.NEXT_TEMPLATE:
            return situation.candidates_left > 0
        case Branch.SUBSTITUTE | Branch.TEMPLATE_FREE | Branch.DROP_ELEMENT_FILTER:
            return situation.element_filter and branch not in tried
        case _:
            return branch not in tried


def _why(verdict: Verdict | None) -> str:
    if verdict is None:
        return "a stage failed"
    failed = ", ".join(check.name for check in deciding(verdict.checks))
    return f"{verdict.status}: {failed} failed" if failed else f"{verdict.status}: {verdict.reason}"
