"""The steps of a run, each a cached and retryable task: load, call one plain function, save.

The functions are looked up when a step runs: what a cached step would need is never imported.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any

from prefect import Task, task
from prefect.transactions import get_transaction

from tasks.caching import Aside, LibraryRef, PotentialRef, SourceFile, cache_key
from tasks.resources import open_library
from tasks.store import Ref, load, save

if TYPE_CHECKING:
    from microscopy.readers import ReadOptions
    from models.denoising import DenoiseOptions
    from models.relaxation import RelaxOptions
    from planning.llm.decide import Adviser
    from planning.planner import Planner, Situation
    from planning.records import Branch, Found
    from reconstruction.retrieval import RetrievalOptions

RETRY_DELAYS = (1.0, 5.0)
"""Seconds before each repetition: a network drive comes back within seconds or not at all."""

TRANSIENT = frozenset(
    {
        errno.EIO,
        errno.EAGAIN,
        errno.EBUSY,
        errno.EINTR,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.ENETDOWN,
        errno.ENETUNREACH,
    }
)
"""System errors that may pass: of network drives and busy files. A full disk or a missing file stays."""


def transient(_task: Any, _run: Any, state: Any) -> bool:
    """Whether a failure is worth another try. Prefect asks for a plain function here."""
    error = state.data
    causes = (error, getattr(error, "__cause__", None))
    return any(isinstance(cause, OSError) and cause.errno in TRANSIENT for cause in causes)


def step(name: str) -> Callable[[Callable[..., Any]], Task[..., Ref]]:
    """Make a task of a function that returns a record; the task returns its `Ref` with the seconds it took."""

    def decorate(function: Callable[..., Any]) -> Task[..., Ref]:
        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Ref:
            started = time.perf_counter()
            ref = save(function(*args, **kwargs))
            return replace(ref, seconds=time.perf_counter() - started)

        make = task(
            name=name,
            task_run_name=name,
            cache_key_fn=cache_key(name),
            persist_result=True,
            result_serializer="json",
            retries=len(RETRY_DELAYS),
            retry_delay_seconds=list(RETRY_DELAYS),
            retry_condition_fn=transient,
        )
        return make(run)

    return decorate


@step("ingest")
def ingest(source: SourceFile, options: ReadOptions) -> Any:
    """Read the file."""
    from microscopy import readers

    return readers.read_micrograph(source.path, options)


@step("calibrate")
def calibrate(micrograph: Ref, library: LibraryRef, accept: bool) -> Any:
    """Estimate a missing pixel size from the best template, if the user accepts an estimate."""
    from reconstruction import calibrate as module

    return module.calibrated(load(micrograph), open_library(library), accept)


@step("straighten")
def straighten(micrograph: Ref) -> Any:
    """Take out the drift within the frame, if there is any."""
    from reconstruction import drift

    return drift.undrifted_micrograph(load(micrograph))


@step("denoise")
def denoise(micrograph: Ref, options: DenoiseOptions, digest: str) -> Any:
    """Denoise; ``digest`` identifies the experts and their weights."""
    from models import denoising

    return denoising.denoise(load(micrograph), options, "auto")


@step("retrieve")
def retrieve(micrograph: Ref, library: LibraryRef, options: RetrievalOptions, denoised: Ref | None = None) -> Any:
    """Rank the templates of a library; the lattice is looked for in the denoised image if there is one."""
    from reconstruction import retrieval

    recorded = load(micrograph)
    seen = replace(recorded, image=load(denoised).image) if denoised else None
    return retrieval.retrieve(recorded, open_library(library), options, seen)


@step("reconstruct")
def reconstruct(micrograph: Ref, candidates: Ref, rank: int) -> Any:
    """Refine the ``rank``-th candidate."""
    from reconstruction import reconstruct as module

    return module.reconstruct(load(micrograph), load(candidates), rank)


@step("defects")
def defects(micrograph: Ref, reconstruction: Ref) -> Any:
    """Look for point defects; what they are found in is returned with them."""
    from reconstruction import point_defects

    return point_defects.with_point_defects(load(micrograph), load(reconstruction))


@step("relax")
def relax(reconstruction: Ref, potential: PotentialRef, options: RelaxOptions) -> Any:
    """Relax the symmetrised crystal and give its energies."""
    from models import formation, potentials

    loaded = potentials.load_potential(potential.wanted, "auto")
    return formation.relax(load(reconstruction).symmetrised, loaded, options)


@step("verify")
def verify(micrograph: Ref, candidates: Ref, reconstruction: Ref | None, relaxation: Ref | None) -> Any:
    """Hold the result against every check."""
    from planning import verify as module

    return module.verify(load(micrograph), load(candidates), _loaded(reconstruction), _loaded(relaxation))


@step("plan")
def plan(
    verdict: Ref | None,
    tried: tuple[Branch, ...],
    situation: Situation,
    planner: Planner | Adviser,
    max_attempts: int,
    asked: int = 0,
) -> Any:
    """Choose what follows an attempt; ``asked``: how often an adviser was asked in this run.

    What an adviser chose is kept like any result. What the rules chose for want of its answer is not: the next run of
    the same input asks again.
    """
    from planning.llm import decide as module

    decision = module.decide(_loaded(verdict), tried, situation, planner, max_attempts, asked)
    transaction = get_transaction()
    if transaction and decision.asked and decision.chosen_by == "rules":
        transaction.write_on_commit = False
    return decision


@step("report")
def report(
    name: str,
    micrograph: Ref,
    denoised: Ref,
    candidates: Ref,
    reconstruction: Ref | None,
    relaxation: Ref | None,
    verdict: Ref,
    decisions: tuple[Ref, ...],
    found: tuple[Found | None, ...],
    notes: tuple[str, ...],
    timings: Aside,
) -> Any:
    """Render everything that the run folder will hold; ``name`` is the file name that the report shows."""
    from tasks import assembly

    return assembly.assemble(
        micrograph=replace(load(micrograph), source=name),
        denoised=load(denoised),
        candidates=load(candidates),
        reconstruction=_loaded(reconstruction),
        relaxation=_loaded(relaxation),
        verdict=load(verdict),
        decisions=[load(decision) for decision in decisions],
        found=found,
        notes=notes,
        timings=timings.value,
    )


def _loaded(ref: Ref | None) -> Any:
    return load(ref) if ref else None
