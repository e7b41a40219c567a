"""Prefect on one machine with no server to start: a private one lives as long as the command.

It starts in the background while the science is imported, listens on a socket that was bound before it started
(so clients need not poll), keeps its database in a temporary folder, and ends when the command ends in any way:
its standard input is a pipe that closes with the command. Where ``PREFECT_API_URL`` is set, that server is used.

Prefect needs seconds to create its tables; a database with the tables and no rows is kept in the cache folder.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from microscopy.errors import AutoMatError

API_URL = "PREFECT_API_URL"

START_TIMEOUT = 120.0
"""Seconds; the first start on a busy machine creates tables for 20."""

REMOTE_TIMEOUT = 10.0
"""Seconds a server that is said to be running may take to answer."""

STOP_TIMEOUT = 5.0
"""Seconds the private server gets to stop by itself."""

PRIVATE_SERVER = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_UI_ENABLED": "false",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
    # Nothing is scheduled, nobody looks, and the database goes with the run.
    **{
        f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false"
        for name in (
            "SCHEDULER",
            "LATE_RUNS",
            "TRIGGERS",
            "FOREMAN",
            "PAUSE_EXPIRATIONS",
            "CANCELLATION_CLEANUP",
            "EVENT_PERSISTER",
            "TASK_RUN_RECORDER",
        )
    },
}
"""Environment of the private server."""


class OrchestrationError(AutoMatError):
    """Prefect cannot be reached or started."""

    stage = "orchestration"


def client_environment(cache: Path, verbose: bool) -> dict[str, str]:
    """Environment of the flows, to be set before Prefect is imported; what the user has set is kept."""
    wanted = {
        "DO_NOT_TRACK": "1",
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(cache / "results"),
        "PREFECT_LOGGING_COLORS": "false",
    }
    if not verbose:  # errors are told once, in one line, by the command
        wanted["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    if not os.environ.get(API_URL):
        wanted |= {
            "PREFECT_HOME": str(cache / "prefect"),
            "PREFECT_LOGGING_TO_API_ENABLED": "false",
        }
    return {name: value for name, value in wanted.items() if name not in os.environ}


class PrivateServer:
    """A Prefect server of one process; `start` returns at once, `wait` when it answers."""

    def __init__(self, cache: Path) -> None:
        self._template = cache / "prefect" / f"tables-{importlib.metadata.version('prefect')}.db"
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self.api_url = ""

    def start(self) -> None:
        """Start it."""
        self._folder = Path(tempfile.mkdtemp(prefix="automat-prefect-"))
        database = self._folder / "prefect.db"
        has_tables = False
        with suppress(OSError):
            shutil.copyfile(self._template, database)
            has_tables = True
        self.api_url, listener = _listener()
        environment = {
            **os.environ,
            **PRIVATE_SERVER,
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{database}",
            "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false" if has_tables else "true",
        }
        with listener, (self._folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flows.server", str(listener.fileno())],
                pass_fds=[listener.fileno()],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the command, which then stops the server
            )

    def wait(self) -> None:
        """Return once the server answers.

        Raises
        ------
        OrchestrationError
            If it ended or does not answer in time.
        """
        assert self._folder is not None
        try:
            _ask(self.api_url, START_TIMEOUT)
        except OSError as error:
            lines = (self._folder / "server.log").read_text(errors="replace").strip().splitlines()
            raise OrchestrationError(
                f"Prefect's local server did not start: {lines[-1] if lines else error}; "
                f"start one with 'prefect server start' and set {API_URL}"
            ) from error
        self._keep_tables()

    def stop(self) -> None:
        """Stop it and remove its traces; safe to call at any time."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _keep_tables(self) -> None:
        """Keep the new database for later starts; a cache that cannot be written only costs time."""
        assert self._folder is not None
        if self._template.exists():
            return
        with suppress(OSError, sqlite3.Error):
            self._template.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._folder / "tables.db"
            with (
                closing(sqlite3.connect(self._folder / "prefect.db")) as source,
                closing(sqlite3.connect(temporary)) as target,
            ):
                source.backup(target)
            part = self._template.with_suffix(f".{os.getpid()}.part")
            shutil.copyfile(temporary, part)
            part.replace(self._template)


@contextmanager
def orchestration(cache: Path, verbose: bool = False) -> Iterator[Orchestrator]:
    """Make Prefect usable in this process for the time of the context."""
    os.environ.update(client_environment(cache, verbose))
    url = os.environ.get(API_URL)
    if url:
        yield Orchestrator(url, None)
        return
    server = PrivateServer(cache)
    try:
        server.start()
        os.environ[API_URL] = server.api_url
        yield Orchestrator(server.api_url, server)
    finally:
        os.environ.pop(API_URL, None)
        server.stop()


class Orchestrator:
    """The server that runs are reported to."""

    def __init__(self, url: str, private: PrivateServer | None) -> None:
        self.url = url
        self._private = private

    def wait(self) -> None:
        """Return once the server answers.

        Raises
        ------
        OrchestrationError
            If it does not.
        """
        if self._private:
            self._private.wait()
            return
        try:
            _ask(self.url, REMOTE_TIMEOUT)
        except OSError as error:
            raise OrchestrationError(
                f"the Prefect server at {self.url} does not answer; start it, or unset {API_URL} to do without"
            ) from error


def _listener() -> tuple[str, socket.socket]:
    """Listen on a free port of this machine only; returns the address of the API there as well."""
    listener = socket.create_server(("127.0.0.1", 0))
    return f"http://127.0.0.1:{listener.getsockname()[1]}/api", listener


def _ask(url: str, timeout: float) -> None:
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=timeout) as response:
            response.read()
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):  # it is there; Prefect's client has the password
            raise
    except ValueError as error:
        raise OSError(str(error)) from error


def serve(descriptor: int) -> None:
    """Run Prefect's API on an inherited listening socket until standard input closes."""
    import uvicorn
    from prefect.server.api.server import create_app

    server = uvicorn.Server(uvicorn.Config(create_app(), log_level="error", lifespan="on"))

    def follow_parent() -> None:
        sys.stdin.buffer.read()
        server.should_exit = server.force_exit = True

    threading.Thread(target=follow_parent, daemon=True).start()
    server.run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    serve(int(sys.argv[1]))
