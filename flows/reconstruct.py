"""The flow of one image: denoise → retrieve → reconstruct → relax → verify → plan, again if the planner says so."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from prefect import Task, flow, tags
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.artifacts import publish
from flows.placement import place
from flows.progress import announce
from flows.settings import Settings
from microscopy.errors import AutoMatError, PotentialError
from models import denoising
from planning.planner import Situation, settled
from planning.records import Branch, Found, Status, in_brief
from planning.search import Search
from reporting.result import Result
from tasks import steps
from tasks.assembly import RunFiles, assemble_failure, failure
from tasks.caching import Aside, LibraryRef, PotentialRef, SourceFile
from tasks.resources import library_ref, planner_ref, potential_ref, source_file
from tasks.store import Ref, load

TOLD_FIRST = 0.5
"""By how much surer a structure must be that contradicts the user, before it is preferred to one that does not."""

KNOWN_FIRST = 0.2
"""By how much surer a structure must be that was made to fit, before it is preferred to a known one."""

RANK = {Status.ACCEPTED: 2, Status.AMBIGUOUS: 1, Status.REJECTED: 0}

logger = logging.getLogger("automat")


@dataclass(frozen=True)
class Outcome:
    """Result of one input and the folder that holds it; no folder for a file that could not even be opened."""

    result: Result
    folder: Path | None


class RunFailedError(AutoMatError):
    """Carries the outcome of a failed run through Prefect, which then shows the run as failed."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.result.reason)
        self.outcome = outcome


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


@dataclass(frozen=True)
class Explanation:
    """References to the image as it was used, its denoised version, and the best attempt to explain it."""

    micrograph: Ref
    denoised: Ref
    best: Attempt


@dataclass
class Journal:
    """What has happened so far: needed to tell of a failure."""

    stage: str = "ingest"
    micrograph: Ref | None = None
    decisions: list[Ref] = field(default_factory=list)
    found: list[Found | None] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)

    def call(self, step: Task[..., Ref], *arguments: Any) -> Ref:
        """Run a step; a cached reference whose file is gone is computed again."""
        self.stage = step.name
        announce(step.name)
        ref, trouble = place(step, arguments)
        if trouble:
            self.notes[f"{trouble}; computed where the run is"] = None
        if not ref.path.is_file():
            ref = step.with_options(refresh_cache=True)(*arguments)
        self.timings[step.name] = self.timings.get(step.name, 0.0) + ref.seconds
        return ref


def reconstruct_file(path: Path, settings: Settings, out: Path) -> Outcome:
    """Reconstruct the crystal in one file; whatever goes wrong is in the outcome.

    Parameters
    ----------
    path
        The micrograph.
    settings
        Options of every stage.
    out
        Parent of the run folder.
    """
    labels = ["automat", *([settings.read.formula] if settings.read.formula else settings.read.elements or ())]
    try:
        # A run that a person waits for needs no heartbeat, and stopping it costs a second.
        with tags(*labels), temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            return reconstruct_image(path.name, path, settings, out)
    except RunFailedError as failed:
        return failed.outcome
    except Exception as error:
        logger.debug("the flow of %s could not be run", path, exc_info=True)
        return Outcome(failure(path, None, error, "orchestration"), None)


@flow(name="reconstruct", flow_run_name="{name}", validate_parameters=False)
def reconstruct_image(name: str, path: Path, settings: Settings, out: Path) -> Outcome:
    """Reconstruct, write the run folder and show the result in Prefect.

    Raises
    ------
    RunFailedError
        If no verdict was reached; the outcome it carries has been written all the same.
    """
    outcome, error = process(name, path, settings, out)
    if error is not None:
        raise RunFailedError(outcome) from error
    return outcome


def process(name: str, path: Path, settings: Settings, out: Path) -> tuple[Outcome, Exception | None]:
    """Do all that a run does, within any flow; returns the error too if no verdict was reached."""
    journal = Journal()
    source: SourceFile | None = None
    try:
        source = source_file(path)
        files = load(_run(name, source, settings, journal))
        journal.stage = "report"
        result, folder = files.write(out, path)
    except Exception as error:
        logger.debug("%s failed in %s", path, journal.stage, exc_info=True)
        return _failed(path, source, error, journal, out), error
    publish(result, folder, files.thumbnail)
    return Outcome(result, folder), None


def _run(name: str, source: SourceFile, settings: Settings, journal: Journal) -> Ref:
    """Run every stage; returns the reference of the `RunFiles`."""
    found = explain(source, settings, journal)
    best = found.best
    return journal.call(
        steps.report,
        name,
        found.micrograph,
        found.denoised,
        best.candidates,
        best.reconstruction,
        best.relaxation,
        best.verdict,
        tuple(journal.decisions),
        tuple(journal.found),
        tuple(journal.notes),
        Aside(dict(journal.timings)),
    )


def explain(source: SourceFile, settings: Settings, journal: Journal) -> Explanation:
    """Read an image and try until the planner stops; everything but the report.

    Raises
    ------
    AutoMatError
        If a stage fails before there is a first verdict; ``journal.stage`` says which.
    """
    journal.stage = "retrieve"
    library = library_ref(settings.library)
    journal.stage = "relax"
    potential = potential_ref(settings.potential) if settings.relaxation else None
    micrograph = journal.micrograph = journal.call(steps.ingest, source, settings.read)
    known = load(micrograph)
    if known.pixel_size is None:
        micrograph = journal.micrograph = journal.call(
            steps.calibrate, micrograph, library, settings.estimate_pixel_size
        )
    micrograph = journal.micrograph = journal.call(steps.straighten, micrograph)
    denoised = journal.call(steps.denoise, micrograph, settings.denoise, denoising.digest(settings.denoise))
    restricted = bool(known.elements or known.formula)
    best = _attempts(micrograph, restricted, library, potential, settings, journal)
    if best.reconstruction is not None and load(best.verdict).status is not Status.REJECTED:
        best = replace(best, reconstruction=journal.call(steps.defects, micrograph, best.reconstruction))
    return Explanation(micrograph, denoised, best)


def _attempts(
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
            best = max(filter(None, made), key=_merit)  # max keeps the first of equals
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


def _merit(attempt: Attempt) -> tuple[int, float]:
    verdict = load(attempt.verdict)
    contradicts = any(check.name == "elements" and not check.passed for check in verdict.checks)
    return RANK[verdict.status], verdict.confidence - KNOWN_FIRST * (not attempt.known) - TOLD_FIRST * contradicts


def _failed(path: Path, source: SourceFile | None, error: Exception, journal: Journal, out: Path) -> Outcome:
    """Write and show what can be said of a failure; a second failure on the way only costs the folder."""
    decisions = [load(each) for each in journal.decisions]
    result = failure(path, source.sha256 if source else None, error, journal.stage, decisions, journal.timings)
    if source is None:
        return Outcome(result, None)
    try:
        micrograph = load(journal.micrograph) if journal.micrograph else None
        files: RunFiles = assemble_failure(
            path, source.sha256, error, journal.stage, micrograph, decisions, journal.timings
        )
        result, folder = files.write(out, path)
        publish(result, folder, files.thumbnail)
    except Exception:
        logger.debug("the failure of %s could not be written", path, exc_info=True)
        return Outcome(result, None)
    return Outcome(result, folder)
