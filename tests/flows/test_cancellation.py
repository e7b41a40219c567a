"""A run that somebody cancels while a worker of ours has it, on a real server."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from cancellable import endless
from prefect.client.orchestration import get_client
from prefect.deployments.runner import EntrypointType
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelling

from flows import worker as module
from flows.deploy import deploy
from flows.topology import FLOW
from flows.worker import WarmWorker

pytestmark = [
    pytest.mark.prefect,
    pytest.mark.slow,  # a process has to import everything
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

PATIENCE = 300.0


async def until(condition: Callable[[], Any]) -> None:
    with anyio.fail_after(PATIENCE):
        while not condition():
            await anyio.sleep(0.1)


def test_a_run_that_is_cancelled_ends_at_once_and_has_not_crashed(
    prefect_server: None, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CANCELLATION_POLL", 0.2)
    monkeypatch.setenv("PREFECT_API_URL", PREFECT_API_URL.value())  # for the process
    deploy()
    sign = tmp_path / "sign"
    endless.to_deployment("test", work_pool_name=FLOW.name, entrypoint_type=EntrypointType.MODULE_PATH).apply()

    async def scene() -> tuple[str, float]:
        async with get_client() as client, WarmWorker(FLOW.name, name="cancelling") as worker:
            deployment = await client.read_deployment_by_name("endless/test")
            run = await client.create_flow_run_from_deployment(deployment.id, parameters={"sign": str(sign)})
            await worker.sync_with_backend()
            with anyio.fail_after(PATIENCE):
                while not (sign.exists() and sign.read_text()):
                    await worker.get_and_submit_flow_runs()
                    await anyio.sleep(0.5)
                    state = (await client.read_flow_run(run.id)).state
                    assert state is None or not state.is_final(), state
            assert not worker._free
            await client.set_flow_run_state(run.id, Cancelling(), force=True)
            asked = time.monotonic()
            await until(lambda: worker._free)
            took = time.monotonic() - asked
            state = None
            with anyio.fail_after(PATIENCE):
                while state is None or not state.is_final():
                    state = (await client.read_flow_run(run.id)).state
            assert await anyio.to_thread.run_sync(worker._free[0]._submit, int) is not None  # replaced
            return f"{state.name}: {state.message}", took

    told, took = anyio.run(scene)
    assert told == f"Cancelled: {module.CANCELLED}"
    assert took < 60
    assert not psutil.pid_exists(int(sign.read_text()))
