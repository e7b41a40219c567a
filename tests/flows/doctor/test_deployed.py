from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from flows import topology
from flows.doctor import deployed

GPU = topology.GPU.name


def pool(name: str, **changes: Any) -> dict[str, Any]:
    limit = next(each.limit for each in topology.POOLS if each.name == name)
    return {"name": name, "type": "automat", "is_paused": False, "concurrency_limit": limit, **changes}


def lab(*missing: str, folders: bool = True, pools: dict[str, Any] | None = None, **workers: Any) -> dict[str, Any]:
    """Answers of a server where everything is as it should be, but for what is given."""
    there = [pool(each.name, **(pools or {}).get(each.name, {})) for each in topology.POOLS]
    online = [{"name": "w", "status": "ONLINE", "last_heartbeat_time": "2026-01-01T00:00:00Z"}]
    watched = {"name": "drop", "paused": False, "schedules": [{"active": True}]}
    answers = {
        "/work_pools/filter": [each for each in there if each["name"] not in missing],
        "/deployments/filter": [watched] if folders else [],
        "/automations/filter": [automation()],
    }
    for each in topology.POOLS:
        answers[f"/work_pools/{each.name}/workers/filter"] = workers.get(each.name.removeprefix("automat-"), online)
    for name in (deployed.EVERY_RUN, *(f"step/{step}" for step in topology.STEPS)):
        if name not in missing:
            answers[f"/deployments/name/{name}"] = {"name": name, "paused": False}
    return answers


def automation(**changes: Any) -> dict[str, Any]:
    return {
        "name": "crash",
        "enabled": True,
        "trigger": {"type": "event", "after": [deployed.HEARTBEAT], "expect": ["prefect.flow-run.*"]},
        "actions": [{"type": "change-flow-run-state", "state": "CRASHED"}],
        **changes,
    }


def of_pools(api: Any) -> dict[str, Any]:
    return {each.name: each for each in deployed.pools(api)}


def test_a_lab_in_order_is_well(answering) -> None:
    api = answering(lab())
    found = [*deployed.pools(api), deployed.deployments(api), deployed.schedules(api), deployed.automation(api)]
    assert {each.state for each in found} == {"ok"}
    assert of_pools(api)[GPU].text == "1 worker online, 1 run at a time"


def test_a_server_without_anything_of_automat_is_a_warning(answering) -> None:
    api = answering({"/work_pools/filter": [], "/deployments/filter": [], "/automations/filter": []})
    found = [*deployed.pools(api), deployed.deployments(api), deployed.automation(api)]
    assert [each.state for each in found] == ["warning"] * 3
    assert all("automat deploy" in each.remedy for each in found)
    assert deployed.schedules(api).state == "skipped"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"is_paused": True}, "is paused"),
        ({"type": "process"}, "of type process"),
        ({"concurrency_limit": None}, "share a GPU"),
        ({"concurrency_limit": 0}, "nothing run"),
    ],
)
def test_a_pool_that_cannot_work_is_broken(changes: dict[str, Any], told: str, answering) -> None:
    found = of_pools(answering(lab(pools={GPU: changes})))
    assert found[GPU].state == "broken"
    assert told in found[GPU].text
    assert found["automat-flow"].state == "ok"


def test_a_pool_that_is_missing_is_broken(answering) -> None:
    assert of_pools(answering(lab(GPU)))[GPU].state == "broken"


@pytest.mark.parametrize(
    ("name", "folders", "never", "gone"),
    [
        ("flow", True, "broken", "broken"),
        ("gpu", True, "skipped", "warning"),
        ("library", True, "skipped", "warning"),
        ("watch", True, "broken", "broken"),
        ("watch", False, "skipped", "skipped"),
    ],
)
def test_a_pool_without_a_worker_is_as_bad_as_its_work(
    name: str, folders: bool, never: str, gone: str, answering
) -> None:
    dead = [{"name": "w", "status": "OFFLINE", "last_heartbeat_time": "2026-01-01T00:00:00Z"}]
    for workers, state in (([], never), (dead, gone)):
        found = of_pools(answering(lab(folders=folders, **{name: workers})))[f"automat-{name}"]
        assert found.state == state
        assert ("last one was seen" in found.text) is bool(workers)
        assert found.remedy == ("" if state == "skipped" else f"automat worker {name}")


def test_deployments_that_are_missing_or_paused_are_broken(answering) -> None:
    found = deployed.deployments(answering(lab("step/relax")))
    assert (found.state, found.text) == ("broken", "missing: step/relax")
    answers = {**lab(), "/deployments/name/step/relax": {"paused": True}}
    found = deployed.deployments(answering(answers))
    assert (found.state, found.text) == ("broken", "paused: step/relax")


@pytest.mark.parametrize("changes", [{"paused": True}, {"schedules": []}, {"schedules": [{"active": False}]}])
def test_a_schedule_that_stands_still_is_told_of(changes: dict[str, Any], answering) -> None:
    answers = lab()
    answers["/deployments/filter"] = [{**answers["/deployments/filter"][0], **changes}]
    found = deployed.schedules(answering(answers))
    assert found.state == "warning"
    assert "drop" in found.text


@pytest.mark.parametrize(
    ("found", "state"),
    [
        ([automation(enabled=False)], "broken"),
        ([automation(enabled=False), automation()], "ok"),
        ([automation(actions=[{"type": "do-nothing"}])], "warning"),
        ([automation(trigger={"after": ["prefect.flow-run.Failed"]})], "warning"),
        ([automation(trigger={"type": "compound"})], "warning"),
        ([], "warning"),
    ],
)
def test_the_heartbeat_automation_is_known_by_what_it_does(found: list, state: str, answering) -> None:
    assert deployed.automation(answering({"/automations/filter": found})).state == state


@pytest.mark.parametrize(
    ("moment", "told"),
    [
        ("2026-01-01T11:59:50Z", "10 s ago"),
        ("2026-01-01T11:00:00+00:00", "60 min ago"),
        ("2026-01-01T09:00:00Z", "3 h ago"),
        ("2025-12-25T12:00:00Z", "7 days ago"),
        ("2026-01-01T12:00:09Z", "0 s ago"),
        ("", "at an unknown time"),
        ("2026-01-01T12:00:09", "at an unknown time"),
    ],
)
def test_moments_of_the_server_are_said_in_words(moment: str, told: str) -> None:
    assert deployed.ago(moment, datetime(2026, 1, 1, 12, tzinfo=UTC)) == told
