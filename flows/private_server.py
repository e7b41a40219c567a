"""Prefect on one machine with no server to start: a private one lives as long as the command.

It starts in the background while the science is imported, listens on a socket that was bound before it started
(so clients need not poll), keeps its database in a temporary folder, and ends when the command ends in any way:
its standard input is a pipe that closes with the command. Where ``PREFECT_API_URL`` is set, that server is used.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from microscopy.cache import RESULTS_VARIABLE
from microscopy.errors import AutoMatError

if TYPE_CHECKING:
    import uvicorn

API_URL = "PREFECT_API_URL"
DATABASE = "prefect.db"

START_TIMEOUT = 120.0
"""Seconds; on a busy machine the imports of the server alone take 20."""

REMOTE_TIMEOUT = 10.0
"""Seconds a server that is said to be running may take to answer."""

STOP_TIMEOUT = 5.0
"""Seconds a server gets to stop by itself."""

PRIVATE_SERVER = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",  # `create_tables` does it
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
        RESULTS_VARIABLE: str(cache / "results"),
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


def worker_environment(cache: Path) -> dict[str, str]:
    """Environment of a process that works for a server, to be set before Prefect is imported; what is set is kept."""
    wanted = {
        "DO_NOT_TRACK": "1",
        "PREFECT_HOME": str(cache / "prefect"),
        RESULTS_VARIABLE: str(cache / "results"),
        "PREFECT_LOGGING_COLORS": "false",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "automat",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the server has the log
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_WORKER_PREFETCH_SECONDS": "2",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    }
    return {name: value for name, value in wanted.items() if name not in os.environ}


def launch(
    module: str, arguments: Sequence[str], log: IO[bytes], environment: Mapping[str, str], keep: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a server module that ends when its standard input closes; ``keep``: open files that it inherits."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        pass_fds=keep,
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the command, which then stops the server
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """Have a launched server stop by itself, and end it if it does not."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_with_parent(server: uvicorn.Server) -> None:
    """Stop a server once standard input closes, which is when the command that launched it ends."""

    def follow() -> None:
        sys.stdin.buffer.read()
        server.should_exit = server.force_exit = True

    threading.Thread(target=follow, daemon=True).start()


class PrivateServer:
    """A Prefect server of one process; `start` returns at once, `wait` when it answers."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self.api_url = ""

    def start(self) -> None:
        """Start it."""
        self._folder = Path(tempfile.mkdtemp(prefix="automat-prefect-"))
        self.api_url, listener = _listener()
        environment = {
            **os.environ,
            **PRIVATE_SERVER,
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{self._folder / DATABASE}",
        }
        with listener, (self._folder / "server.log").open("wb") as log:
            arguments = [str(listener.fileno()), str(self._folder)]
            self._process = launch("flows.private_server", arguments, log, environment, [listener.fileno()])

    def wait(self) -> None:
        """Return once the server answers.

        Raises
        ------
        OrchestrationError
            If it ended or does not answer in time.
        """
        assert self._folder is not None
        try:
            ask(self.api_url, START_TIMEOUT)
        except OSError as error:
            lines = (self._folder / "server.log").read_text(errors="replace").strip().splitlines()
            raise OrchestrationError(
                f"Prefect's local server did not start: {lines[-1] if lines else error}; "
                f"start one with 'prefect server start' and set {API_URL}"
            ) from error

    def stop(self) -> None:
        """Stop it and remove its traces; safe to call at any time."""
        if self._process is not None:
            end(self._process)
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def orchestration(cache: Path, verbose: bool = False) -> Iterator[Orchestrator]:
    """Make Prefect usable in this process for the time of the context."""
    os.environ.update(client_environment(cache, verbose))
    url = os.environ.get(API_URL)
    if url:
        yield Orchestrator(url, None)
        return
    server = PrivateServer()
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
            ask(self.url, REMOTE_TIMEOUT)
        except OSError as error:
            raise OrchestrationError(
                f"the Prefect server at {self.url} does not answer; start it, or unset {API_URL} to do without"
            ) from error


def _listener() -> tuple[str, socket.socket]:
    """Listen on a free port of this machine only; returns the address of the API there as well."""
    listener = socket.create_server(("127.0.0.1", 0))
    return f"http://127.0.0.1:{listener.getsockname()[1]}/api", listener


def ask(url: str, timeout: float, alive: Callable[[], bool] | None = None) -> None:
    """Return once the server at ``url`` answers; with ``alive``, ask until it does, or is gone, or time is up.

    Raises
    ------
    OSError
        If it does not.
    """
    end = time.monotonic() + timeout
    while True:
        try:
            return _ask(url, max(1.0, end - time.monotonic()))
        except OSError:
            if alive is None or not alive() or time.monotonic() > end:
                raise
            time.sleep(0.2)


def _ask(url: str, timeout: float) -> None:
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=timeout) as response:
            response.read()
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):  # it is there; Prefect's client has the password
            raise
    except ValueError as error:
        raise OSError(str(error)) from error


def serve(descriptor: int, folder: Path) -> None:
    """Run Prefect's API on an inherited listening socket until standard input closes, then remove ``folder``."""
    import uvicorn
    from prefect.server.api.server import create_app

    create_tables(folder / DATABASE)
    server = uvicorn.Server(uvicorn.Config(create_app(), log_level="error", lifespan="on"))

    end_with_parent(server)
    server.run(sockets=[socket.socket(fileno=descriptor)])
    shutil.rmtree(folder, ignore_errors=True)  # the command may have been killed


def create_tables(database: Path) -> None:
    """Create an empty database from Prefect's models: replaying years of migrations would take seven seconds."""
    from prefect.server.database.orm_models import Base
    from sqlalchemy import create_engine
    from sqlalchemy.schema import CreateIndex, CreateTable

    engine = create_engine(f"sqlite:///{database}")
    with engine.begin() as connection:
        for table in Base.metadata.sorted_tables:
            connection.execute(CreateTable(table, if_not_exists=True))
            for index in table.indexes:  # some indices are declared twice
                connection.execute(CreateIndex(index, if_not_exists=True))
    engine.dispose()


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
