from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from flows.doctor import runs

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def run(name: str, minutes: float, **more: Any) -> dict[str, Any]:
    moment = (NOW - timedelta(minutes=minutes)).isoformat()
    return {"id": name, "name": name, "start_time": moment, "state": {"timestamp": moment}, **more}


def server(running: list, pending: list, heard: tuple[str, ...] = ()) -> dict[str, Any]:
    def listed(request: httpx.Request) -> list:
        kinds = json.loads(request.content)["flow_runs"]["state"]["type"]["any_"]
        return pending if kinds == ["PENDING"] else running

    def events(request: httpx.Request) -> dict[str, Any]:
        (resource,) = json.loads(request.content)["filter"]["resource"]["id"]
        return {"events": [], "total": int(resource.removeprefix("prefect.flow-run.") in heard)}

    return {"/flow_runs/filter": listed, "/events/filter": events}


def test_a_quiet_server_has_no_zombies(answering) -> None:
    (found,) = runs.zombies(answering(server([], [])), NOW)
    assert (found.state, found.text) == ("ok", "none")


def test_long_runs_that_give_signs_of_life_are_no_zombies(answering) -> None:
    (found,) = runs.zombies(answering(server([run("a", 90)], [run("p", 1)], heard=("a",))), NOW)
    assert found.state == "ok"
    assert "1 long runs" in found.text


def test_silent_runs_and_those_that_never_begin_are_zombies(answering) -> None:
    api = answering(server([run("a", 90), run("b", 30)], [run("p", 45)], heard=("b",)))
    silent, stuck = runs.zombies(api, NOW)
    assert silent.state == stuck.state == "broken"
    assert silent.text == "a: without a sign of life, begun 90 min ago"
    assert stuck.text.startswith("p: pending")
    assert "prefect flow-run cancel a" in silent.remedy


def test_many_zombies_are_counted(answering) -> None:
    (found,) = runs.zombies(answering(server([run(f"r{n}", 90 - n) for n in range(7)], [])), NOW)
    assert found.text.startswith("r0, r1, r2 and 4 more")


def test_late_runs_are_told_by_pool(answering) -> None:
    late = [run("a", 0, work_pool_name="automat-gpu", expected_start_time="2026-01-01T09:00:00Z")]
    late += [run(name, 0, work_pool_name="automat-flow") for name in "bc"]
    found = runs.late(answering({"/flow_runs/filter": late}), NOW)
    assert found.state == "warning"
    assert found.text.startswith("2 in automat-flow, 1 in automat-gpu")
    assert "3 h ago" in found.text
    assert "automat worker flow" in found.remedy
    assert runs.late(answering({"/flow_runs/filter": []}), NOW).state == "ok"


@pytest.mark.parametrize("pool", [None, "another"])
def test_late_runs_of_other_pools_are_told_of_too(pool: str | None, answering) -> None:
    found = runs.late(answering({"/flow_runs/filter": [run("a", 9, work_pool_name=pool)]}), NOW)
    assert found.state == "warning"
