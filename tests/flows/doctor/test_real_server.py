"""The checks of a server, against Prefect's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flows import topology
from flows.doctor import deployed, runs, server
from flows.doctor.api import Api

pytestmark = pytest.mark.prefect

LATER = timedelta(hours=1)


@pytest.fixture
def api() -> Iterator[Api]:
    from prefect.settings import PREFECT_API_URL

    api = Api({"PREFECT_API_URL": str(PREFECT_API_URL.value())})
    yield api
    api.close()


@pytest.fixture
def client() -> Iterator[Any]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture(autouse=True)
def _bare(client: Any) -> None:
    """Other tests share the server, deploy to it and leave runs behind."""
    for run in client.read_flow_runs():
        client.delete_flow_run(run.id)
    for deployment in client.read_deployments():
        client.delete_deployment(deployment.id)
    for pool in client.read_work_pools():
        client.delete_work_pool(pool.name)
    for automation in client.read_automations():
        client.delete_automation(automation.id)


@pytest.fixture
def lab(client: Any) -> Any:
    """Work pools, deployments and the automation, as ``automat deploy`` makes them."""
    from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
    from prefect.client.schemas.schedules import IntervalSchedule
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.states import StateType

    for pool in topology.POOLS:
        client.create_work_pool(WorkPoolCreate(name=pool.name, type=topology.WORKER_TYPE, concurrency_limit=pool.limit))
    names = {"reconstruct-file": [topology.DEPLOYMENT], "step": list(topology.STEPS), "drop-folder": ["drop"]}
    each_nine_days = DeploymentScheduleCreate(schedule=IntervalSchedule(interval=timedelta(days=9)))
    for flow, deployments in names.items():
        flow_id = client.create_flow_from_name(flow)
        for name in deployments:
            schedules = [each_nine_days] if flow == "drop-folder" else []
            client.create_deployment(flow_id, name, work_pool_name=topology.FLOW.name, schedules=schedules)
    trigger = EventTrigger(
        after={deployed.HEARTBEAT},
        expect={"prefect.flow-run.*"},
        match={"prefect.resource.id": ["prefect.flow-run.*"]},
        posture=Posture.Proactive,
        within=timedelta(days=9),
    )
    actions = [ChangeFlowRunState(state=StateType.CRASHED)]
    client.create_automation(AutomationCore(name="crash", trigger=trigger, actions=actions))
    return client


def test_a_server_as_it_comes(api: Api) -> None:
    assert server.connection(api, {}).state == "ok"
    assert server.version(api).text.endswith("on both sides")
    assert "only this machine" in server.authentication(api).text
    assert server.database(api, {"PREFECT_SERVER_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:///x"}).state == "ok"
    assert server.clock(api).state == "ok"
    assert server.services(api).state in ("ok", "broken")  # the tests' server is lean
    assert [each.state for each in deployed.pools(api)] == ["warning"]
    assert deployed.deployments(api).state == "warning"
    assert deployed.schedules(api).state == "skipped"
    assert deployed.automation(api).state == "warning"
    assert runs.late(api).state == "ok"


def test_what_is_deployed_is_found(api: Api, lab: Any) -> None:
    assert deployed.deployments(api).state == "ok"
    assert deployed.schedules(api).text == "drop"
    assert deployed.automation(api).state == "ok"
    lab.pause_deployment(lab.read_deployment_by_name("drop-folder/drop").id)
    assert deployed.schedules(api).state == "warning"


def test_pools_are_judged_by_their_workers(api: Api, lab: Any) -> None:
    from prefect.client.schemas.actions import WorkPoolUpdate

    pools = {each.name: each for each in deployed.pools(api)}
    assert pools["automat-flow"].state == "broken"
    for pool in topology.POOLS:
        lab.send_worker_heartbeat(pool.name, "w")
    assert [each.state for each in deployed.pools(api)] == ["ok"] * 4
    lab.update_work_pool(topology.GPU.name, WorkPoolUpdate(is_paused=True))
    pools = {each.name: each for each in deployed.pools(api)}
    assert "paused" in pools["automat-gpu"].text


def test_runs_that_stand_still_are_found(api: Api, client: Any) -> None:
    from prefect import flow
    from prefect.states import Crashed, Pending, Running

    def nothing() -> None: ...

    started = [client.create_flow_run(flow(nothing), name=name) for name in ("alive", "dead", "stuck")]
    for run, state in zip(started, (Running(), Running(), Pending()), strict=True):
        client.set_flow_run_state(run.id, state, force=True)
    now = datetime.now(UTC)
    assert [each.state for each in runs.zombies(api, now)] == ["ok"]
    beat = {
        "occurred": (now + LATER - timedelta(minutes=1)).isoformat(),
        "event": deployed.HEARTBEAT,
        "resource": {"prefect.resource.id": f"prefect.flow-run.{started[0].id}"},
        "id": "11111111-1111-4111-8111-111111111111",
    }
    client.request("POST", "/events", json=[beat])
    for _ in range(300):  # the server writes events in the background
        silent, stuck = runs.zombies(api, now + LATER)
        if "alive" not in silent.text:
            break
        time.sleep(0.1)
    assert silent.text.startswith("dead: without a sign of life")
    assert stuck.text.startswith("stuck: pending")
    for run in started:
        client.set_flow_run_state(run.id, Crashed(), force=True)
    assert [each.state for each in runs.zombies(api, now + LATER)] == ["ok"]
