"""Steps that run elsewhere: on the worker with the GPU, or on the one with the library.

The other process runs the very same task, whose result lands in the shared cache; calling the task here then finds it
there. So nothing travels but the digest of a `tasks.calls.Call`, and where no worker comes to help, or the one that
came fails, the step is computed on the spot: the result then says so.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect import Task, flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import WorkerStatus
from prefect.deployments import run_deployment
from prefect.runtime import flow_run
from prefect.states import Cancelled, State

from flows.topology import STEPS
from intake.claims import claim, held
from microscopy.cache import cache_folder
from microscopy.errors import AutoMatError
from models.device import AUTO, chosen
from tasks import calls
from tasks.store import Ref

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

REMOTE = "AUTOMAT_REMOTE"
"""Environment variable: names of the steps that go to other workers, with commas between."""

PATIENCE = 120.0
"""Seconds that a step waits while its work pool has no worker at all."""

LOST = 20.0
"""Seconds after which a run that no process works on is given up: heartbeats would take minutes to tell."""

POLL = 0.5
"""Seconds between two looks at a run."""

TRIES = 3
"""Workers that may die over one step."""

WAITING = "waiting"


class PlacementError(AutoMatError):
    """``AUTOMAT_REMOTE`` names a step that cannot run elsewhere."""

    stage = "settings"


def remote_steps() -> frozenset[str]:
    """Names of the steps that go to other workers.

    Raises
    ------
    PlacementError
        For a name that is none.
    """
    names = frozenset(name.strip() for name in os.environ.get(REMOTE, "").split(",") if name.strip())
    if unknown := names - set(STEPS):
        raise PlacementError(
            f"{REMOTE}: {', '.join(sorted(unknown))}: only {', '.join(sorted(STEPS))} can run elsewhere"
        )
    return names


def place(step: Task[..., Ref], arguments: tuple[Any, ...]) -> tuple[Ref, str]:
    """Run a step where it belongs.

    Returns
    -------
    Ref, str
        Of the result, and why it was computed here although it should not have been; empty if all is well.

    Raises
    ------
    AutoMatError
        Whatever the step raises.
    """
    trouble = ""
    if step.name in remote_steps() and not calls.result_file(step, arguments).is_file():
        trouble = _send(step.name, calls.keep(step, arguments).digest)
    return calls.make(step, arguments), trouble


@flow(name="step", flow_run_name="{step}: {name}", validate_parameters=False)
def run_step(step: str, digest: str, name: str) -> None:
    """Run a stored call, on the worker of its step; ``name``: the file that it is about."""
    with claim(cache_folder(), _key(digest)), _device(step):
        calls.run(digest)


def _send(step: str, digest: str) -> str:
    """Have a call run by a worker and wait for it; returns what went wrong, if anything did."""
    own = flow_run.get_id() or ""
    with get_client(sync_client=True) as client:
        for attempt in range(TRIES):
            run = run_deployment(
                f"step/{step}",
                parameters={"step": step, "digest": digest, "name": flow_run.get_name() or ""},
                flow_run_name=f"{step}: {flow_run.get_name() or digest[:8]}",
                idempotency_key=f"{own}:{digest}:{attempt}",
                timeout=0,
                tags=["automat", step],
            )
            state = _wait(client, run.id, _key(digest))
            if state is None:
                continue
            if state.is_completed():
                return ""
            if state.name == WAITING:
                return f"there was no worker for the step '{step}'"
            if not state.is_crashed():
                return f"the worker of the step '{step}' reported: {state.message}"
        return f"{TRIES} workers died over the step '{step}'"


def _wait(client: SyncPrefectClient, id: UUID, key: str) -> State[Any] | None:
    """Final state of a run, one named `WAITING` if nobody is there to take it, None if its process is gone."""
    hope = taken = alive = time.monotonic()
    while True:
        run = client.read_flow_run(id)
        state, now = run.state, time.monotonic()
        if state is None or state.is_scheduled():
            taken = alive = now
            if run.work_pool_name and _somebody_there(client, run.work_pool_name):
                hope = now
            if now - hope > PATIENCE:
                _withdraw(client, id)
                return Cancelled(name=WAITING)
        elif state.is_pending():
            alive = now
            if now - taken > PATIENCE:  # its worker died before it started
                _withdraw(client, id)
                return None
        elif state.is_final():
            return state
        elif held(cache_folder(), key):
            alive = now
        elif now - alive > LOST:
            _withdraw(client, id)  # it would keep others out of its pool
            return None
        time.sleep(POLL)


def _withdraw(client: SyncPrefectClient, id: UUID) -> None:
    client.set_flow_run_state(id, Cancelled(message="the run that asked went on without it"), force=True)


def _somebody_there(client: SyncPrefectClient, pool: str) -> bool:
    """Whether a worker serves a pool; it may be busy."""
    return any(worker.status == WorkerStatus.ONLINE for worker in client.read_workers_for_work_pool(pool))


def _key(digest: str) -> str:
    return f"{digest}-0"


@contextmanager
def _device(step: str) -> Iterator[None]:
    """One run at a time on a GPU, also of workers that know nothing of each other."""
    if STEPS[step].queue is None or chosen(AUTO) == "cpu":
        yield
        return
    with (Path(tempfile.gettempdir()) / f"automat-gpu-{os.environ.get('CUDA_VISIBLE_DEVICES', '0')}.lock").open(
        "a"
    ) as file:
        flock(file, LOCK_EX)
        yield
