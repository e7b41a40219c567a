"""The flow of one image: denoise → retrieve → reconstruct → relax → verify → plan, again if the planner says so."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from prefect import flow, tags
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.artifacts import publish
from flows.attempts import Attempt, find_best
from flows.journal import Journal
from flows.settings import Settings
from microscopy.errors import AutoMatError
from models import denoising
from planning.records import Status
from reporting.result import Result
from tasks import steps
from tasks.assembly import RunFiles, assemble_failure, failure
from tasks.caching import Aside, SourceFile
from tasks.resources import library_ref, potential_ref, source_file
from tasks.store import Ref, load

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
class Explanation:
    """References to the image as it was used, its denoised version, and the best attempt to explain it."""

    micrograph: Ref
    denoised: Ref
    best: Attempt


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
    best = find_best(micrograph, restricted, library, potential, settings, journal)
    if best.reconstruction is not None and load(best.verdict).status is not Status.REJECTED:
        best = replace(best, reconstruction=journal.call(steps.defects, micrograph, best.reconstruction))
    return Explanation(micrograph, denoised, best)


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
