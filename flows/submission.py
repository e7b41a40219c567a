"""Runs of a watched folder on a Prefect server: how they are started, and what has become of them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateName,
)
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.runtime import deployment

from flows.topology import DEPLOYMENT
from intake.errors import UnreachableError
from intake.places import shown
from intake.records import Job, RunState
from microscopy.cache import cache_folder

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

KEPT = 1
"""Passes without news that stay in the Prefect UI: the sign that the folder is looked into."""

MIN_FREE = 200 << 20
"""Bytes free on the disks of results and cache, below which nothing is begun: some runs may be writing already."""

READ = 200
"""Runs asked for at a time: the most that Prefect's API gives."""


class PrefectRuns:
    """`intake.passing.Runs` on a Prefect server."""

    def __init__(self, client: SyncPrefectClient, settings: dict[str, Any], out: Path) -> None:
        self._client = client
        self._settings = settings
        self._out = out
        self._deployment: UUID | None = None

    def submit(self, job: Job) -> str:
        """Start a run; a second call with the same job gives the same run.

        Raises
        ------
        UnreachableError
            If the server cannot be reached or refuses, or the disk is nearly full.
        """
        self._check_space()
        known = [job.options["formula"]] if job.options.get("formula") else job.options.get("elements") or ()
        try:
            if self._deployment is None:
                self._deployment = self._client.read_deployment_by_name(f"reconstruct-file/{DEPLOYMENT}").id
            run = self._client.create_flow_run_from_deployment(
                self._deployment,
                name=shown(job.name),
                parameters={
                    "name": shown(job.name),
                    "path": str(job.path),
                    "settings": self._settings,
                    "options": job.options,
                    "out": str(self._out),
                    "sha256": job.sha256,
                    "key": job.key,
                },
                tags=["automat", "drop", *([known] if isinstance(known, str) else known)],
                idempotency_key=hashlib.sha256(f"{self._out}\0{job.key}\0{job.attempt}".encode()).hexdigest(),
            )
        except ObjectNotFound as error:
            raise UnreachableError("the Prefect server has no deployment of AutoMat; run 'automat deploy'") from error
        except (httpx.HTTPError, PrefectHTTPStatusError) as error:
            raise UnreachableError(f"the Prefect server does not take runs: {_reason(error)}") from error
        return str(run.id)

    def states(self, ids: Iterable[str]) -> dict[str, RunState]:
        """What has become of some runs; one that the server does not know is missing.

        Raises
        ------
        UnreachableError
            If the server cannot be reached.
        """
        wanted = list(ids)
        found = dict.fromkeys(wanted, RunState.MISSING)
        try:
            for start in range(0, len(wanted), READ):
                part = [UUID(id) for id in wanted[start : start + READ]]
                for run in self._client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=part))):
                    found[str(run.id)] = _state(run.state)
        except (httpx.HTTPError, PrefectHTTPStatusError) as error:
            raise UnreachableError(f"the Prefect server does not answer: {_reason(error)}") from error
        return found

    def _check_space(self) -> None:
        """A run that meets a full disk is lost: better not to begin it."""
        for place in (self._out, cache_folder()):
            if place.exists() and shutil.disk_usage(place).free < MIN_FREE:
                raise UnreachableError(f"{place}: less than {MIN_FREE >> 20} MiB are free; nothing new is begun")


def tidy(client: SyncPrefectClient, quiet: str) -> None:
    """Remove what a schedule leaves behind: passes without news, and passes that nobody was there to make."""
    own = deployment.id
    if not own:
        return
    mine = DeploymentFilter(id=DeploymentFilterId(any_=[UUID(own)]))
    silent = FlowRunFilter(state=FlowRunFilterState(name=FlowRunFilterStateName(any_=[quiet])))
    missed = FlowRunFilter(
        state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Scheduled", "Late"])),
        expected_start_time=FlowRunFilterExpectedStartTime(before_=datetime.now(UTC)),
    )
    superseded = FlowRunFilter(state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Cancelled"])))
    for condition, kept in ((silent, KEPT), (missed, 0), (superseded, 0)):
        runs = client.read_flow_runs(
            flow_run_filter=condition, deployment_filter=mine, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=READ
        )
        for run in runs[kept:]:
            try:
                client.delete_flow_run(run.id)
            except ObjectNotFound:
                continue


def _state(state: Any) -> RunState:
    if state is None or state.is_scheduled():
        return RunState.SCHEDULED
    if state.is_pending():
        return RunState.PENDING
    if state.is_crashed():
        return RunState.CRASHED
    if state.is_cancelled() or state.is_cancelling():
        return RunState.CANCELLED
    return RunState.FINISHED if state.is_final() else RunState.RUNNING


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
