"""Which checks there are, in the order in which they are told."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from flows.doctor import credentials, deployed, drops, folders, imports, machine, packages, runs, science, server
from flows.doctor import workers as local
from flows.doctor.api import Api
from flows.doctor.running import Check, Section

IMPORTS = imports.LIMIT + 1.0


def examination(
    folder: Path | None = None, libraries: Sequence[Path] = (), potential: str | None = None
) -> list[Section]:
    """Put the checks together.

    Parameters
    ----------
    folder
        A watched folder, or the one with its results.
    libraries, potential
        What runs will be given besides, or instead of, what comes with the project.
    """
    sections = [_installation(), _science(libraries, potential), _machine(), _server()]
    return sections if folder is None else [*sections, _folder(folder)]


def _installation() -> Section:
    return Section(
        "Installation",
        (
            Check("Python", packages.python),
            Check("packages", packages.ranges),
            Check("known traps", packages.traps),
            Check("torch build", packages.twins),
            Check("Prefect", imports.orchestration, IMPORTS),
            Check("science", imports.science, IMPORTS),
        ),
    )


def _science(libraries: Sequence[Path], potential: str | None) -> Section:
    return Section(
        "What runs read",
        (
            Check("denoiser", science.denoiser),
            Check("library", partial(science.libraries, libraries)),
            Check("potential", partial(science.potential, potential)),
            Check("language model", credentials.language_model),
        ),
    )


def _machine() -> Section:
    return Section(
        "This machine",
        (
            Check("memory", machine.memory),
            Check("processors", machine.processors),
            Check("cache", folders.cache),
            Check("results", folders.results),
            Check("temporary", folders.temporary),
            Check("secret files", credentials.secret_files),
            Check("workers", local.signs),
        ),
    )


def _server() -> Section:
    api = Api()
    checks = {
        "version": server.version,
        "authentication": server.authentication,
        "database": server.database,
        "services": server.services,
        "clock": server.clock,
        "work pools": deployed.pools,
        "deployments": deployed.deployments,
        "watched folders": deployed.schedules,
        "heartbeat automation": deployed.automation,
        "zombie runs": runs.zombies,
        "late runs": runs.late,
    }
    return Section(
        "Prefect server",
        tuple(Check(name, partial(look, api)) for name, look in checks.items()),
        gate=Check("server", partial(server.connection, api)),
    )


def _folder(folder: Path) -> Section:
    return Section("Watched folder", (Check("ledger", partial(drops.watched, folder)),))
