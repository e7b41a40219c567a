"""Tell a Prefect server what there is: work pools, limits, deployments, and what to do about runs that died."""

from __future__ import annotations

import hashlib
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed, StateType
from prefect.types.entrypoint import EntrypointType

from flows.artifacts import code, ledger_key, progress_key
from flows.drop import drop_folder, reconstruct_dropped
from flows.placement import run_step
from flows.topology import DEPLOYMENT, FLOW, GPU, POOLS, STEPS, WATCH, WORKER_TYPE
from flows.worker import WarmWorker

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

    from flows.topology import Pool

HEARTBEAT = 30
"""Seconds between the signs of life of a run; Prefect allows no fewer."""

BEGIN_WITHIN = timedelta(seconds=120)
"""That a run may need from being taken to its beginning: the start of a process on a busy machine."""

SILENT = "automat: runs without a sign of life have crashed"
UNBEGUN = "automat: runs that were taken and never began have crashed"

MODULE = {"entrypoint_type": EntrypointType.MODULE_PATH}
"""Deployments name what is installed, not a file of this machine."""


def deploy(gpus: int | None = None) -> list[str]:
    """Create or update everything; may be repeated at any time.

    Parameters
    ----------
    gpus
        Denoising and relaxation runs at a time: one for each GPU. None: as many as there were, one at first.

    Returns
    -------
    list of str
        What there is now, a line each.
    """
    with get_client(sync_client=True) as client:
        for pool in POOLS:
            _pool(client, pool, gpus if pool is GPU else None)
        for automation in _automations():
            _automate(client, automation)
    reconstruct_dropped.to_deployment(
        DEPLOYMENT, work_pool_name=FLOW.name, description="One micrograph, from file to run folder.", **MODULE
    ).apply()
    for step, place in STEPS.items():
        run_step.to_deployment(
            step,
            work_pool_name=place.pool,
            work_queue_name=place.queue,
            description=f"The step '{step}' of a run that is elsewhere.",
            **MODULE,
        ).apply()
    lines = [f"work pool {pool.name}: {pool.description}" for pool in POOLS]
    lines += [f"deployment {name}" for name in ("reconstruct-file/automat", *(f"step/{step}" for step in STEPS))]
    return [*lines, *(f"automation '{name}'" for name in (SILENT, UNBEGUN))]


def schedule(name: str, every: timedelta, parameters: dict[str, Any]) -> UUID:
    """Have a drop folder looked into at an interval; one pass at a time, others are skipped."""
    return drop_folder.to_deployment(
        name,
        interval=every,
        parameters=parameters,
        work_pool_name=WATCH.name,
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
        description=_description(parameters["folder"], parameters["out"]),
        tags=["automat", "watch"],
        **MODULE,
    ).apply()


def _description(folder: str, out: str) -> str:
    """What there is to see of a drop folder; the links are relative to the page of a deployment."""
    name = Path(folder).name
    return (
        f"Looks for new micrographs in {code(folder)}; results are in {code(out)}.\n\n"
        f"[Progress](../../artifacts/key/{progress_key(name)}), "
        f"[latest micrographs](../../artifacts/key/{ledger_key(name)}), "
        "[all micrographs](../../artifacts), [their runs](../../runs?tags=drop)"
    )


def deployment_name(folder: Path) -> str:
    """Name of the deployment that watches a folder: the name of that, made fit for a URL; namesakes get a digest."""
    from reporting.files import safe_stem

    name = safe_stem(f"{folder.name or 'drop'}.").replace(" ", "-").replace("%", "-")
    with get_client(sync_client=True) as client:
        present = _deployment(client, name)
    if present is None or present.parameters.get("folder") == str(folder):
        return name
    return f"{name}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:4]}"


def crash_leftovers(*names: str) -> None:
    """Declare the open runs of some deployments dead: whoever made them was killed, and they would hold their slots.

    For the one who knows: nobody else works for these deployments.
    """
    with get_client(sync_client=True) as client:
        ids = [found.id for name in names if (found := _deployment(client, name, flow=None))]
        if not ids:
            return
        open_ones = FlowRunFilterState(
            type=FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING, StateType.CANCELLING])
        )
        runs = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=open_ones),
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=ids)),
        )
        for run in runs:
            unwanted = run.state is not None and run.state.is_cancelling()
            state = (Cancelled if unwanted else Crashed)(message="its process was killed")
            client.set_flow_run_state(run.id, state, force=True)


def _deployment(client: SyncPrefectClient, name: str, flow: str | None = "drop-folder") -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(f"{flow}/{name}" if flow else name)
    except ObjectNotFound:
        return None


def _pool(client: SyncPrefectClient, pool: Pool, limit: int | None) -> None:
    """Make a pool, or bring it up to date; its limit changes only if one is given."""
    try:
        limit = limit or client.read_work_pool(pool.name).concurrency_limit
    except ObjectNotFound:
        limit = limit or pool.limit
    wanted = WorkPoolCreate(
        name=pool.name,
        description=pool.description,
        type=WORKER_TYPE,
        base_job_template=WarmWorker.get_default_base_job_template(),
        concurrency_limit=limit,
    )
    client.create_work_pool(wanted, overwrite=True)
    for queue in pool.queues:
        try:
            client.read_work_queue_by_name(queue, work_pool_name=pool.name)
        except ObjectNotFound:
            client.create_work_queue(queue, work_pool_name=pool.name)


def _automations() -> list[AutomationCore]:
    """What to do about runs whose worker was killed: they would be running, and hold their slot, for ever."""
    every_run = {"prefect.resource.id": ["prefect.flow-run.*"]}
    return [
        AutomationCore(
            name=SILENT,
            description="A worker that was killed cannot say so itself.",
            trigger=EventTrigger(
                after={"prefect.flow-run.heartbeat"},
                expect={"prefect.flow-run.*"},
                match=every_run,
                for_each={"prefect.resource.id"},
                posture=Posture.Proactive,
                threshold=1,
                within=timedelta(seconds=3 * HEARTBEAT),
            ),
            actions=[ChangeFlowRunState(state=StateType.CRASHED, message="no sign of life: its worker is gone")],
        ),
        AutomationCore(
            name=UNBEGUN,
            description="A worker took the run and was killed before it began.",
            trigger=EventTrigger(
                after={"prefect.flow-run.Pending", "prefect.flow-run.Submitting"},
                expect={"prefect.flow-run.*"},
                match=every_run,
                for_each={"prefect.resource.id"},
                posture=Posture.Proactive,
                threshold=1,
                within=BEGIN_WITHIN,
            ),
            actions=[ChangeFlowRunState(state=StateType.CRASHED, message="never begun: its worker is gone")],
        ),
    ]


def _automate(client: SyncPrefectClient, wanted: AutomationCore) -> None:
    present = client.read_automations_by_name(wanted.name)
    for superfluous in present[1:]:
        client.delete_automation(superfluous.id)
    if present:
        client.update_automation(present[0].id, wanted)
    else:
        client.create_automation(wanted)


def paused(name: str) -> None:
    """Stop looking into a folder for now: else passes that nobody makes would pile up as late."""
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(f"{drop_folder.name}/{name}")
        client.pause_deployment(deployment.id)
