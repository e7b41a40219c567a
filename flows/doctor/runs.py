"""Runs that stand still on a server: without a sign of life, never begun, or late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from flows.doctor.api import PAGE, Api
from flows.doctor.deployed import HEARTBEAT, ROLE, ago
from flows.doctor.finding import Finding, broken, ok, warning

SILENT = timedelta(minutes=10)
"""Without a heartbeat: three of Prefect's slowest, and AutoMat's workers send one every 30 s."""

HANGING = timedelta(minutes=5)
"""Pending: a warm worker begins within seconds."""

ASKED = 20
"""Runs whose heartbeats are asked for: the oldest."""


def zombies(api: Api, now: datetime | None = None) -> list[Finding]:
    """Runs that are said to run but give no sign of life, or never began: each holds a place that others wait for."""
    now = now or datetime.now(UTC)
    long = _runs(api, {"state": {"type": {"any_": ["RUNNING", "CANCELLING"]}}, "start_time": _before(now - SILENT)})
    dead = [run for run in long[:ASKED] if not _heard(api, run, now)]
    stuck = _runs(api, {"state": {"type": {"any_": ["PENDING"]}}, "expected_start_time": _before(now - HANGING)})
    stuck = [run for run in stuck if _since(run, now) > HANGING]
    found = [
        broken(
            "zombie runs",
            f"{_named(runs)}: {fault} {ago(moment(runs[0]), now)}",
            f"delete it in the UI: its file is taken up again; or prefect flow-run cancel {runs[0].get('id')}, then "
            "automat retry",
        )
        for runs, fault, moment in (
            (dead, "without a sign of life, begun", _start),
            (stuck, "pending without ever beginning, taken", _state_time),
        )
        if runs
    ]
    return found or [ok("zombie runs", f"none; {len(long)} long runs give signs of life" if long else "none")]


def late(api: Api, now: datetime | None = None) -> Finding:
    """Runs that should have begun: nobody takes them."""
    runs = _runs(api, {"state": {"name": {"any_": ["Late"]}}}, "EXPECTED_START_TIME_ASC")
    if not runs:
        return ok("late runs", "none")
    pools = Counter(str(run.get("work_pool_name")) for run in runs)
    where = ", ".join(f"{count} in {pool}" for pool, count in pools.most_common())
    more = "at least " if len(runs) == PAGE else ""
    role = ROLE.get(pools.most_common(1)[0][0], "flow")
    text = f"{more}{where}; the first should have begun {ago(str(runs[0].get('expected_start_time')), now)}"
    return warning("late runs", text, f"start more workers (automat worker {role}), or wait if they are busy")


def _runs(api: Api, wanted: Mapping[str, Any], sort: str = "START_TIME_ASC") -> list[dict[str, Any]]:
    return api.rows("/flow_runs/filter", {"flow_runs": wanted, "sort": sort})


def _before(moment: datetime) -> dict[str, str]:
    return {"before_": moment.isoformat()}


def _heard(api: Api, run: Mapping[str, Any], now: datetime) -> bool:
    """Whether a run has given a sign of life lately."""
    wanted = {
        "event": {"name": [HEARTBEAT]},
        "resource": {"id": [f"prefect.flow-run.{run.get('id')}"]},
        "occurred": {"since": (now - SILENT).isoformat(), "until": now.isoformat()},
    }
    return api.count("/events/filter", {"filter": wanted, "limit": 1}) > 0


def _start(run: Mapping[str, Any]) -> str:
    return str(run.get("start_time"))


def _state_time(run: Mapping[str, Any]) -> str:
    return str((run.get("state") or {}).get("timestamp") or run.get("start_time"))


def _since(run: Mapping[str, Any], now: datetime) -> timedelta:
    return now - datetime.fromisoformat(_state_time(run))


def _named(runs: list[dict[str, Any]]) -> str:
    names = ", ".join(str(run.get("name")) for run in runs[:3])
    return names if len(runs) <= 3 else f"{names} and {len(runs) - 3} more"
