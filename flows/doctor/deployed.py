"""What ``automat deploy`` makes on a server, and the workers that make it move."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flows import topology
from flows.doctor.api import Api, ApiError
from flows.doctor.finding import Finding, broken, ok, skipped, warning
from flows.doctor.words import age

DEPLOY = "automat deploy"

FLOW_OF_FILE, FLOW_OF_STEP, FLOW_OF_FOLDER = "reconstruct-file", "step", "drop-folder"

EVERY_RUN = f"{FLOW_OF_FILE}/{topology.DEPLOYMENT}"

HEARTBEAT = "prefect.flow-run.heartbeat"

ROLE = {"automat-flow": "flow", "automat-gpu": "gpu", "automat-library": "library", "automat-watch": "watch"}
"""Work pool → what to ask ``automat worker`` for."""


def pools(api: Api) -> list[Finding]:
    """Work pools: there, moving, limited, and with workers."""
    there = {pool["name"]: pool for pool in api.rows("/work_pools/filter")}
    if not any(pool.name in there for pool in topology.POOLS):
        return [warning("work pools", "none of AutoMat's are on this server", f"{DEPLOY}, to send runs to workers")]
    watched = bool(_of_flow(api, FLOW_OF_FOLDER))
    return [_pool(api, pool, there.get(pool.name), watched) for pool in topology.POOLS]


def _pool(api: Api, wanted: topology.Pool, found: Mapping[str, Any] | None, watched: bool) -> Finding:
    name = wanted.name
    if found is None:
        return broken(name, "there is no such work pool", DEPLOY)
    if found.get("is_paused"):
        return broken(name, "is paused: nothing in it starts", f"prefect work-pool resume {name}")
    if found.get("type") != topology.WORKER_TYPE:
        return broken(name, f"is of type {found.get('type')}: AutoMat's workers take no runs from it", DEPLOY)
    limit = found.get("concurrency_limit")
    if limit == 0 or (limit is None and wanted.limit is not None):
        text = "lets nothing run (limit 0)" if limit == 0 else "has no limit: runs would share a GPU"
        return broken(name, text, f"{DEPLOY} --gpus N" if wanted is topology.GPU else DEPLOY)
    return _staffed(name, workers_of(api, name), limit, watched)


def _staffed(name: str, workers: list[dict[str, Any]], limit: int | None, watched: bool) -> Finding:
    present = [worker for worker in workers if online(worker)]
    allowed = "" if limit is None else f", {limit} run{'s' * (limit != 1)} at a time"
    if present:
        return ok(name, f"{len(present)} worker{'s' * (len(present) != 1)} online{allowed}")
    last = max((str(worker.get("last_heartbeat_time") or "") for worker in workers), default="")
    text = "no worker is online" + (f"; the last one was seen {ago(last)}" if last else "")
    remedy = f"automat worker {ROLE[name]}"
    if name == topology.WATCH.name and not watched:
        return skipped(name, f"{text}, and no folder is watched")
    if name in (topology.FLOW.name, topology.WATCH.name):
        return broken(name, f"{text}: nothing starts", remedy)
    if not workers:
        return skipped(name, "no worker has been here: flow workers do these steps themselves")
    return warning(name, f"{text}: its steps wait, then run where they came from", remedy)


def workers_of(api: Api, pool: str) -> list[dict[str, Any]]:
    """Workers that the server knows of a pool."""
    return api.rows(f"/work_pools/{pool}/workers/filter")


def online(worker: Mapping[str, Any]) -> bool:
    """Whether the server has heard of a worker lately."""
    return worker.get("status") == "ONLINE"


def deployments(api: Api) -> Finding:
    """Look for what can be run: whole reconstructions, and single steps."""
    wanted = [EVERY_RUN, *(f"{FLOW_OF_STEP}/{step}" for step in topology.STEPS)]
    found = {name: _deployment(api, name) for name in wanted}
    missing = [name for name, each in found.items() if each is None]
    if len(missing) == len(wanted):
        return warning("deployments", "none of AutoMat's are on this server", DEPLOY)
    if missing:
        return broken("deployments", f"missing: {', '.join(missing)}", DEPLOY)
    paused = [name for name, each in found.items() if each and each.get("paused")]
    if paused:
        return broken("deployments", f"paused: {', '.join(paused)}", f"prefect deployment resume {paused[0]}")
    return ok("deployments", ", ".join(wanted))


def _deployment(api: Api, name: str) -> dict[str, Any] | None:
    try:
        found = api.get(f"/deployments/name/{name}")
    except ApiError as error:
        if error.status == 404:
            return None
        raise
    return found if isinstance(found, dict) else None


def _of_flow(api: Api, flow: str) -> list[dict[str, Any]]:
    return api.rows("/deployments/filter", {"flows": {"name": {"any_": [flow]}}})


def schedules(api: Api) -> Finding:
    """Look for watched folders whose schedule stands still."""
    watched = _of_flow(api, FLOW_OF_FOLDER)
    if not watched:
        return skipped("watched folders", "none on this server ('automat watch DIR')")
    still = [str(each.get("name")) for each in watched if each.get("paused") or not _active(each)]
    if still:
        remedy = f"automat watch DIR again, or prefect deployment resume {FLOW_OF_FOLDER}/{still[0]}"
        return warning("watched folders", f"not looked into at present: {', '.join(still)}", remedy)
    return ok("watched folders", ", ".join(str(each.get("name")) for each in watched))


def _active(deployment: Mapping[str, Any]) -> bool:
    return any(schedule.get("active") for schedule in deployment.get("schedules") or ())


def automation(api: Api) -> Finding:
    """Look for the automation that crashes runs whose worker is gone, so that they free their place."""
    found = [each for each in api.rows("/automations/filter") if _crashes_the_silent(each)]
    if not found:
        fault = "none marks runs as crashed whose worker died: they keep their place for ever"
        return warning("heartbeat automation", fault, DEPLOY)
    if not any(each.get("enabled") for each in found):
        name = found[0].get("name")
        return broken("heartbeat automation", f"'{name}' is off", f"prefect automation resume '{name}', or {DEPLOY}")
    return ok("heartbeat automation", "runs that give no sign of life are marked as crashed")


def _crashes_the_silent(automation: Mapping[str, Any]) -> bool:
    trigger = automation.get("trigger") or {}
    heard = HEARTBEAT in (trigger.get("after") or ())
    actions = automation.get("actions") or ()
    return heard and any(
        action.get("type") == "change-flow-run-state" and action.get("state") == "CRASHED" for action in actions
    )


def ago(moment: str, now: datetime | None = None) -> str:
    """How long ago a moment of the server was, in words."""
    try:
        seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(moment)).total_seconds()
    except (ValueError, TypeError):
        return "at an unknown time"
    return f"{age(seconds)} ago"
