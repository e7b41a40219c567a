"""A whole Prefect server for the time of a measurement: every service, its database in a file or in PostgreSQL."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.materials import BenchmarkError
from benchmarks.scaling.usage import processes

START_TIMEOUT = 180.0
"""Seconds; the first start writes years of migrations."""


@dataclass(frozen=True)
class Server:
    """Where it answers, its process, and the file of its database (absent for PostgreSQL)."""

    url: str
    pid: int
    database: Path

    def cpu_s(self) -> float:
        """Seconds of processors used so far; those of PostgreSQL are not among them."""
        return sum(processes(self.pid).values())

    def count(self, what: str) -> int:
        """Rows of ``flow_runs`` or ``task_runs``."""
        return int(httpx.post(f"{self.url}/{what}/count", json={}, timeout=60).raise_for_status().json())

    def stored(self) -> int | None:
        """Bytes of the database; None for PostgreSQL."""
        files = list(self.database.parent.glob(f"{self.database.name}*"))
        return sum(file.stat().st_size for file in files) if files else None


@contextmanager
def server(folder: Path, database: str | None = None) -> Iterator[Server]:
    """Run one.

    Parameters
    ----------
    folder
        For its files.
    database
        Connection URL; None for a file in the folder.

    Raises
    ------
    BenchmarkError
        If it does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "server.db"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database or f"sqlite+aiosqlite:///{file}",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}/api"
        _wait(url, process, folder / "server.log")
        yield Server(url, process.pid, file)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health", timeout=5).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    raise BenchmarkError(f"Prefect's server did not start; {log} has what it said")
