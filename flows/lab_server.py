"""The Prefect server of a lab or a laptop: API, schedules and UI in one process, with its database on disk."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from flows.private_server import API_URL, START_TIMEOUT, OrchestrationError, ask, end, end_with_parent, launch
from microscopy.cache import cache_folder
from microscopy.hosts import is_loopback

PORT = 4200
LOOPBACK = "127.0.0.1"

RUNS_KEPT = 30 * 86400
"""Seconds that runs which have ended stay in the database; the ledger and the results are the record."""

PORT_TIMEOUT = 8.0
"""Seconds that a port may still be taken by a server that is ending."""

AUTH = "PREFECT_SERVER_API_AUTH_STRING"
DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"


def home() -> Path:
    """Folder of the server's database and of the files of its UI."""
    return Path(os.environ.get("PREFECT_HOME") or cache_folder() / "server")


def environment(database: str | None = None) -> dict[str, str]:
    """Settings of the server that nobody has set: nothing is sent anywhere, nothing is written beside the program."""
    wanted = {
        "PREFECT_HOME": str(home()),
        "PREFECT_UI_STATIC_DIRECTORY": str(home() / "ui"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_API_URL": "/api",  # as the browser sees it: at any port, by any name of this machine
        "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_SCHEDULED_TIME": "PT3M",  # an hour of passes to come hides the runs
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",  # what a run leaves in it is half a megabyte
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(RUNS_KEPT),
        "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "3600",  # to wait for a free worker is not to be late
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_LOGGING_COLORS": "false",
        "DO_NOT_TRACK": "1",
    }
    if database:
        wanted[DATABASE] = (
            database if "://" in database else f"sqlite+aiosqlite:///{Path(database).expanduser().absolute()}"
        )
    url = wanted.get(DATABASE) or os.environ.get(DATABASE, "sqlite+aiosqlite://")
    wanted["PREFECT_SERVER_DATABASE_DRIVER"] = url.partition("://")[0]  # the URL is masked where settings are shown
    return {name: value for name, value in wanted.items() if name == DATABASE or name not in os.environ}


def api_url(host: str, port: int) -> str:
    """Address of the API."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/api"


def check_address(host: str, port: int) -> None:
    """Refuse what would be unsafe, or cannot work.

    Raises
    ------
    OrchestrationError
        If the port is taken, or others could reach a server without a password.
    """
    if not is_loopback(host) and not os.environ.get(AUTH):
        raise OrchestrationError(
            f"anybody who reaches {host} could run anything here: give --auth-file with a file that holds user:password"
        )
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        raise OrchestrationError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}; is a server running already? "
            f"Then set {API_URL}={api_url(host, port)}, or give another --port"
        ) from error


def run(host: str, port: int, follow: bool = False) -> None:
    """Serve until interrupted; with ``follow``, also until standard input closes."""
    import uvicorn
    from prefect.server.api.server import create_app

    server = uvicorn.Server(
        uvicorn.Config(create_app(), host=host, port=port, log_level="warning", timeout_keep_alive=5, access_log=False)
    )

    if follow:
        end_with_parent(server)
    server.run()


class LocalServer:
    """A server that ends with this process, on this machine only; its database stays."""

    def __init__(self, port: int = PORT) -> None:
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self.api_url = api_url(LOOPBACK, port)

    @property
    def ui_url(self) -> str:
        """What to open in a browser."""
        return self.api_url.removesuffix("/api")

    @property
    def log(self) -> Path:
        """What it has to say."""
        return home() / "server.log"

    def start(self) -> None:
        """Start it and return at once.

        Raises
        ------
        OrchestrationError
            If the port is taken.
        """
        self._await_port()
        settings = {**os.environ, **environment()}
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self._process = launch("flows.lab_server", [LOOPBACK, str(self._port)], log, settings)

    def _await_port(self) -> None:
        """Give the server of a command that was killed a moment ago the time to end."""
        end = time.monotonic() + PORT_TIMEOUT
        while True:
            try:
                return check_address(LOOPBACK, self._port)
            except OrchestrationError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    def wait(self) -> None:
        """Return once it answers.

        Raises
        ------
        OrchestrationError
            If it does not.
        """
        try:
            ask(self.api_url, START_TIMEOUT, lambda: self._process is None or self._process.poll() is None)
        except OSError as error:
            raise OrchestrationError(f"the Prefect server did not start ({error}); {self.log} says why") from error

    def stop(self) -> None:
        """Stop it; safe to call at any time."""
        process, self._process = self._process, None
        if process is not None:
            end(process)


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), follow=True)
