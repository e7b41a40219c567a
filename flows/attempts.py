"""Try, judge, let the planner choose what to try next; keep the best."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from flows.journal import Journal
from flows.settings import Settings
from microscopy.errors import AutoMatError, PotentialError
from models import denoising
from planning.planner import RESEMBLES, Situation, settled
from planning.records import Branch, Found, Status, in_brief
from planning.search import Search
from tasks import steps
from tasks.caching import LibraryRef, PotentialRef
from tasks.resources import planner_ref
from tasks.store import Ref, load

TOLD_FIRST = 0.5
"""By how much surer a structure must be that contradicts the user, before it is preferred to one that does not."""

KNOWN_FIRST = 0.2
"""By how much surer a structure must be that was made to fit, before it is preferred to a known one."""

EXPLAINING = frozenset({"fit", "residual"})
"""Checks that a structure explains the image."""

RANK = {Status.ACCEPTED: 2, Status.AMBIGUOUS: 1, Status.REJECTED: 0}

logger = logging.getLogger("automat")


@dataclass(frozen=True)
class Attempt:
    """References to what one attempt found; no reconstruction where no template fits."""

    candidates: Ref
    reconstruction: Ref | None
    relaxation: Ref | None
    verdict: Ref

    @property
    def known(self) -> bool:
        """Whether the structure is one of a library; so is none at all."""
        return self.reconstruction is None or load(self.reconstruction).candidate.origin == "template"


def find_best(
    micrograph: Ref,
    restricted: bool,
    library: LibraryRef,
    potential: PotentialRef | None,
    settings: Settings,
    journal: Journal,
) -> Attempt:
    """Try until the planner stops; returns the best attempt, the earlier of equals.

    ``restricted``: the user gave elements or a formula, which the search can drop.
    """
    planner = planner_ref(settings.planner)
    search = Search(settings.retrieval)
    tried: list[Branch] = []
    made: list[Attempt | None] = []
    likeness = 0.0
    seen: Ref | None = None
    while True:
        attempt: Attempt | None = None
        hypotheses = 0
        try:
            if search.denoised and seen is None:
                seen = _redenoised(micrograph, settings, journal)
            candidates = journal.call(steps.retrieve, micrograph, library, search.options, seen)
            hypotheses = len(load(candidates).items)
            likeness = max(likeness, load(candidates).likeness)
            rank = search.rank if search.rank < hypotheses else None
            attempt = _attempt(micrograph, candidates, rank, potential, settings, journal)
        except AutoMatError:
            if not made:
                raise
            logger.debug("attempt %d failed", len(tried) + 1, exc_info=True)
        made.append(attempt)
        situation = Situation(
            candidates_left=max(0, hypotheses - search.rank - 1),
            element_filter=search.options.use_elements and restricted,
            likeness=likeness,
            made=attempt is not None and not attempt.known,
        )
        verdict = attempt.verdict if attempt else None
        asked = sum(load(each).asked for each in journal.decisions)
        decision = journal.call(steps.plan, verdict, tuple(tried), situation, planner, settings.max_attempts, asked)
        journal.decisions.append(decision)
        branch = load(decision).branch
        if branch in (Branch.ACCEPT, Branch.GIVE_UP):
            resembling = likeness >= RESEMBLES
            best = max(filter(None, made), key=lambda each: _merit(each, resembling))  # max keeps the first of equals
            journal.found = [each and _found(each, each is best) for each in made]
            return _relaxed(best, micrograph, potential, settings, journal)
        tried.append(branch)
        search = search.after(branch)


def _redenoised(micrograph: Ref, settings: Settings, journal: Journal) -> Ref:
    """Denoise with the trained mixture, whatever the first denoising used."""
    options = replace(settings.denoise, expert=denoising.MIXTURE)
    return journal.call(steps.denoise, micrograph, options, denoising.digest(options))


def _attempt(
    micrograph: Ref,
    candidates: Ref,
    rank: int | None,
    potential: PotentialRef | None,
    settings: Settings,
    journal: Journal,
) -> Attempt:
    """Make one attempt on the ``rank``-th hypothesis; None when there is no hypothesis."""
    if rank is None:
        return Attempt(candidates, None, None, journal.call(steps.verify, micrograph, candidates, None, None))
    reconstruction = journal.call(steps.reconstruct, micrograph, candidates, rank)
    verdict = journal.call(steps.verify, micrograph, candidates, reconstruction, None)
    attempt = Attempt(candidates, reconstruction, None, verdict)
    return _relaxed(attempt, micrograph, potential, settings, journal) if settled(load(verdict)) else attempt


def _relaxed(
    attempt: Attempt, micrograph: Ref, potential: PotentialRef | None, settings: Settings, journal: Journal
) -> Attempt:
    """Relax what an attempt found and hold it against the checks again, unless that was done or makes no sense."""
    if potential is None or attempt.reconstruction is None or attempt.relaxation is not None:
        return attempt
    if load(attempt.verdict).status is Status.REJECTED:
        return attempt
    options = settings.relax if attempt.known else replace(settings.relax, heights="tried")
    try:
        relaxation = journal.call(steps.relax, attempt.reconstruction, potential, options)
    except PotentialError as error:
        # The crystal stands without its energy; the result says why there is none.
        journal.notes[f"no energy: {error}"] = None
        return attempt
    verdict = journal.call(steps.verify, micrograph, attempt.candidates, attempt.reconstruction, relaxation)
    return replace(attempt, relaxation=relaxation, verdict=verdict)


def _found(attempt: Attempt, kept: bool) -> Found:
    return in_brief(load(attempt.verdict), load(attempt.reconstruction) if attempt.reconstruction else None, kept)


def _merit(attempt: Attempt, resembling: bool) -> tuple[int, bool, float]:
    """What to keep; ``resembling``: some known structure, through a distorted scan, looks like the image."""
    verdict = load(attempt.verdict)
    in_vain = resembling and not attempt.known and not EXPLAINING.isdisjoint(verdict.failed)
    doubts = KNOWN_FIRST * (not attempt.known) + TOLD_FIRST * ("elements" in verdict.failed)
    return RANK[verdict.status], not in_vain, verdict.confidence - doubts
