"""The Prefect server that ``PREFECT_API_URL`` names: there, of a fitting version, closed to strangers."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from importlib.metadata import version as installed_version
from typing import Any

import httpx
from packaging.version import InvalidVersion, Version

from flows.doctor.api import AUTH, KEY, URL, Api, ApiError
from flows.doctor.deployed import online, workers_of
from flows.doctor.finding import Finding, broken, ok, skipped, warning
from microscopy.hosts import is_loopback

DATABASE_URL = "PREFECT_SERVER_DATABASE_CONNECTION_URL"

SKEW = 30.0
"""Seconds between two clocks from which on heartbeats and schedules are misjudged."""


def connection(api: Api, environment: Mapping[str, str] = os.environ) -> Finding:
    """Whether the server answers, and answers this user."""
    name = "server"
    if not api.url:
        return skipped(name, f"no server is set ({URL}); AutoMat runs its own for each command")
    try:
        api.health()
        api.get("/admin/version")
    except ApiError as error:
        if error.status not in (401, 403):
            remedy = f"start it (automat serve), correct {URL} (it ends in /api), or unset it"
            return broken(name, str(error), remedy)
        if environment.get(KEY):
            return broken(name, f"{api.url} refuses {KEY}, which wins over {AUTH}", f"unset {KEY}")
        given = "refuses the given user and password" if environment.get(AUTH) else "asks for a user and a password"
        return broken(name, f"{api.url} {given}", f"set {AUTH}_FILE to a file with user:password as the server has it")
    return ok(name, f"{api.url} answers")


def version(api: Api, client: str | None = None) -> Finding:
    """The server's version beside that of Prefect here: a server may be newer than its clients, not older."""
    name, client = "version", client or installed_version("prefect")
    told = str(api.get("/admin/version"))
    try:
        there, here = Version(told), Version(client)
    except InvalidVersion:
        return warning(name, f"the server calls its version {told}", "check what runs at this address")
    if there == here:
        return ok(name, f"Prefect {client} on both sides")
    text = f"the server has Prefect {told}, this machine {client}"
    remedy = f"install prefect=={max(there, here)} on both"
    if there.major != here.major or (there.release[:2] < here.release[:2]):
        return broken(name, text, remedy)
    return warning(name, text, remedy)


def authentication(api: Api, outside: Callable[[], str | None] | None = None) -> Finding:
    """Whether strangers are kept out: anybody who reaches Prefect's API can start code on the workers."""
    name, remedy = "authentication", "set PREFECT_SERVER_API_AUTH_STRING_FILE for the server, or bind it to 127.0.0.1"
    if not api.anonymous():
        return ok(name, "on")
    if not is_loopback(api.host.strip("[]")):
        return broken(name, f"off: whoever reaches {api.host} can see all runs and start code on the workers", remedy)
    address = (outside or own_address)()
    if address and api.anonymous(str(httpx.URL(api.url).copy_with(host=address))):
        return broken(name, f"off, and the server listens on the network, too ({address})", remedy)
    return ok(name, "off; only this machine can reach the server")


def own_address() -> str | None:
    """Address of this machine towards the network; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # reserved for documentation
            address = str(probe.getsockname()[0])
        except OSError:
            return None
    return None if is_loopback(address) else address


def database(api: Api, environment: Mapping[str, str] = os.environ) -> Finding:
    """Which database the server keeps its records in."""
    name = "database"
    kind = _kind(api.get("/admin/settings"), environment)
    if not kind:
        return skipped(name, "the server does not say which it has")
    if kind != "SQLite":
        return ok(name, kind)
    pools = [str(pool["name"]) for pool in api.rows("/work_pools/filter")]
    workers = {str(worker["name"]) for pool in pools for worker in workers_of(api, pool) if online(worker)}
    if len(workers) > 1:
        fault = f"SQLite with {len(workers)} workers: 'database is locked' will lose states of runs"
        return warning(name, fault, "automat serve --database with a PostgreSQL address")
    return ok(name, "SQLite, enough for one worker")


def _kind(settings: Any, environment: Mapping[str, str]) -> str:
    """Kind of database: the server says it, or this machine runs it; addresses are masked by the server."""
    told = str(_at(settings, "server", "database", "driver") or "")
    text = told or environment.get(DATABASE_URL, "")
    return {"sqlite": "SQLite", "postgresql": "PostgreSQL"}.get(text.partition("+")[0].partition(":")[0], "")


def services(api: Api) -> Finding:
    """Look for the server's services that start, expire and crash runs."""
    wanted = ("scheduler", "late_runs", "triggers", "foreman")
    settings = api.get("/admin/settings")
    states = {name: _at(settings, "server", "services", name, "enabled") for name in wanted}
    off = [name for name, on in states.items() if on is False]
    if not any(states.values()) and not off:
        return skipped("services", "the server does not say which it runs")
    if off:
        fault = f"off in the server: {', '.join(off)}"
        return broken("services", fault, "start the server with 'automat serve', or its services beside it")
    return ok("services", "schedules, late runs, automations and workers are looked after")


def clock(api: Api, now: Callable[[], float] = time.time) -> Finding:
    """Compare the clocks of this machine and of the server."""
    told = api.health().headers.get("date")
    if not told:
        return skipped("clock", "the server does not tell the time")
    ahead = now() - parsedate_to_datetime(told).timestamp()
    text = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the server"
    if abs(ahead) > SKEW:
        return broken("clock", text, "let both keep time with NTP (timedatectl set-ntp true)")
    return ok("clock", "as the server's")


def _at(settings: Any, *path: str) -> Any:
    for name in path:
        settings = settings.get(name) if isinstance(settings, Mapping) else None
    return settings
