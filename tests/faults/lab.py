"""A whole installation as native processes, made to be broken: database, server, workers and watcher, each killable.

Everything lives in one temporary folder and on free ports, and every process in a group of its own, so that whatever
happens to a test, `Installation.close` leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from intake.ledger import Ledger
from intake.places import LEDGER
from intake.records import Content, State

ROOT = Path(__file__).parents[2]

PATIENCE = 240.0
"""Seconds that anything may take to happen: the machine may be busy."""

POLL = 0.5

ELSEWHERE = "computed where the run is"
"""End of what a result says of a step that no worker did."""


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Wait for something; returns what ``condition`` gave."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(POLL)
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Part:
    """One process of the installation, with its children in one group, and its log."""

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._command = [sys.executable, "-m", "flows.cli", *command]
        self.environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                cwd=self.log.parent,
                start_new_session=True,
            )

    def processes(self) -> list[psutil.Process]:
        """All of its group, itself first."""
        found = []
        for each in psutil.process_iter():
            with suppress(ProcessLookupError, psutil.Error):
                if os.getpgid(each.pid) == self.pid:
                    found.append(each)
        return sorted(found, key=lambda each: each.pid != self.pid)

    def slots(self) -> list[psutil.Process]:
        """Processes that runs are executed in."""
        found = []
        for each in self.processes():
            with suppress(psutil.Error):
                if "spawn_main" in " ".join(each.cmdline()):
                    found.append(each)
        return found

    def stop(self) -> None:
        """End it as an operator would."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(30)
        self.kill()

    def kill(self) -> None:
        """SIGKILL, with its children."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def kill_alone(self) -> None:
        """SIGKILL of the process itself: its children have to notice."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()


class Database:
    """PostgreSQL with a password, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.password = secrets.token_hex(12)
        self._programs = _programs()
        folder.mkdir()
        if os.getuid() == 0:
            shutil.chown(folder, "postgres")
        secret = folder.with_name("database-password")
        secret.write_text(self.password)
        secret.chmod(0o644)  # in a folder of the test's own; the user that PostgreSQL runs as has to read it
        self._run("initdb", "-D", str(folder / "data"), "-A", "scram-sha-256", "-U", "automat", f"--pwfile={secret}")
        secret.unlink()

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://automat:{self.password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        # fsync guards against the end of the machine, which no test can bring about.
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -c fsync=off -c max_connections=200"
        self._run(
            "pg_ctl", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"), "-o", options, "-w", "start"
        )

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", mode, "-w", "stop")

    def close(self) -> None:
        if (self.folder / "data/postmaster.pid").exists():
            self.stop("immediate")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if os.getuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        # The server that pg_ctl starts would keep a pipe open: what it says goes into a file.
        said = self.folder.with_name("logs") / "database.log"
        with said.open("ab") as log:
            done = subprocess.run(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
            )
        if done.returncode:
            raise AssertionError(f"{program} failed: {said.read_text()[-2000:]}")


def _programs() -> Path:
    """Folder of PostgreSQL's programs."""
    places = [Path("/usr/local/bin"), *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    if found := shutil.which("initdb"):
        places.append(Path(found).parent)
    for place in places:
        if (place / "initdb").exists() and (place / "pg_ctl").exists():
            return place
    pytest.skip("PostgreSQL is not installed (initdb and pg_ctl)")


class Disk:
    """A small disk that can be filled to the last byte."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
        )
        self.real = done.returncode == 0

    def fill(self) -> None:
        """Take whatever is left, while others write."""
        with (self.folder / "ballast").open("wb") as stream:
            size = 0
            for step in (64 << 20, 1 << 20, 4096):
                with suppress(OSError):
                    while True:
                        os.posix_fallocate(stream.fileno(), size, step)
                        size += step

    def free(self) -> None:
        (self.folder / "ballast").unlink()

    def close(self) -> None:
        if self.real:
            subprocess.run(["umount", "--lazy", str(self.folder)], capture_output=True, check=False)


class Installation:
    """PostgreSQL, a server with a password, workers and a watcher.

    Parameters
    ----------
    watching
        Options of ``automat watch``.
    disk
        Bytes of the disk that results and cache are on; None for an ordinary folder.
    environment
        Further variables of all processes.
    """

    def __init__(self, watching: Sequence[str] = (), disk: int | None = None, **environment: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="automat-faults-"))
        self.folder.chmod(0o755)  # PostgreSQL runs as another user
        self.parts: list[Part] = []
        self.disk: Disk | None = None
        self.database: Database | None = None
        try:
            self._made(watching, disk, environment)
        except BaseException:
            self.close()
            raise

    def _made(self, watching: Sequence[str], disk: int | None, environment: dict[str, str]) -> None:
        store = self.folder / "store"
        if disk is None:
            store.mkdir()
        else:
            self.disk = Disk(store, disk)
        self.drop = self.folder / "drop"
        self.drop.mkdir()
        self.out = store / "results"
        self.cache = store / "cache"
        self.logs = self.folder / "logs"
        self.logs.mkdir()
        (self.folder / "tmp").mkdir()
        self.database = Database(self.folder / "database")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.auth = f"lab:{secrets.token_hex(12)}"
        auth_file, url_file = self.secret("auth", self.auth), self.secret("database-url", self.database.url)
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PREFECT_", "AUTOMAT_")) and name != "PYTHONPATH"
        }
        self.common = kept | {
            "PYTHONPATH": str(ROOT),
            "AUTOMAT_CACHE": str(self.cache),
            "TMPDIR": str(self.folder / "tmp"),
            "OMP_NUM_THREADS": "1",
            "PYTHONFAULTHANDLER": "1",
            **environment,
        }
        self.client = self.common | {
            "PREFECT_API_URL": f"{self.url}/api",
            "PREFECT_API_AUTH_STRING_FILE": str(auth_file),
            "PREFECT_HOME": str(self.folder / "client"),
        }
        served = self.common | {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL_FILE": str(url_file),
            "PREFECT_HOME": str(self.folder / "server"),
        }
        self.server = self._part("server", ["serve", "--port", str(self.port), "--auth-file", str(auth_file)], served)
        remote = ["--remote", "denoise,retrieve,relax"]
        self.gpu = self._part("gpu", ["worker", "gpu", "--name", "gpu"], self.client)
        self.library = self._part("library", ["worker", "library", "--name", "library"], self.client)
        self.flow = self._part("flow", ["worker", "flow", *remote, "--limit", "3", "--name", "flow"], self.client)
        self.watcher = self._part(
            "watcher",
            ["watch", str(self.drop), "--out", str(self.out), "--workers", "0", "--every", "5s", *watching],
            self.client,
        )

    @property
    def workers(self) -> tuple[Part, ...]:
        return (self.gpu, self.library, self.flow)

    def __enter__(self) -> Installation:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is not None:
                print(self.told())  # pytest shows it with the failure
        finally:
            self.close()

    def start(self) -> None:
        """Start everything and wait until it is ready."""
        self.start_server()
        done = self.automat("deploy")
        assert done.returncode == 0, done.stderr
        for part in (*self.workers, self.watcher):
            part.start()

    def rest(self) -> None:
        """End everything: what is still to be looked at is on the disk."""
        for part in reversed(self.parts):
            part.kill()

    def start_server(self) -> None:
        assert self.database is not None
        self.database.start()
        self.server.start()
        until(self.healthy, "the server answers")

    def healthy(self) -> bool:
        assert self.server.alive, self.server.log.read_text()[-2000:]
        try:
            return httpx.get(f"{self.url}/api/health", auth=self._basic, timeout=10).status_code == 200
        except httpx.HTTPError:
            return False

    def api(self, path: str, **document: Any) -> Any:
        """Ask the server."""
        answer = httpx.post(f"{self.url}/api/{path}", json=document, auth=self._basic, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def runs(self, flow: str) -> list[dict[str, Any]]:
        """All runs of a flow."""
        found: list[dict[str, Any]] = []
        while True:
            part = self.api(
                "flow_runs/filter", flows={"name": {"any_": [flow]}}, limit=200, offset=len(found), sort="ID_DESC"
            )
            found += part
            if len(part) < 200:
                return found

    def automat(self, *arguments: str, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command, as a client of the server; with a ``cache`` of its own, by itself."""
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments],
            env=self.client if cache is None else self.common | {"AUTOMAT_CACHE": str(cache)},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )

    def contents(self) -> dict[str, Content]:
        """Rows of the ledger by digest; empty while it cannot be read."""
        if not (self.out / LEDGER).exists():
            return {}
        with Ledger(self.out / LEDGER, readonly=True) as ledger:
            return {each.sha256: each for each in ledger.contents()}

    def files(self) -> dict[str, tuple[str, str, str | None]]:
        """State, reason and digest by path."""
        with Ledger(self.out / LEDGER, readonly=True) as ledger:
            return {path: (str(seen.state), seen.reason, seen.sha256) for path, seen in ledger.files(gone=True).items()}

    def settled(self, files: int) -> bool:
        """Whether so many files have been seen, and every content has its end."""
        contents = self.contents()
        if not contents:
            return False
        seen = self.files()
        return (
            len(seen) >= files
            and not any(state == "settling" for state, _, _ in seen.values())
            and all(each.state in (State.DONE, State.FAILED) for each in contents.values())
        )

    def result(self, content: Content) -> dict[str, Any]:
        assert content.folder is not None
        document: dict[str, Any] = json.loads((self.out / content.folder / "result.json").read_text())
        return document

    def told(self) -> str:
        """The end of every log, for a person who has to find out."""
        logs = sorted(self.logs.glob("*.log"))
        return "\n".join(f"--- {log.stem}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)

    def close(self) -> None:
        """Leave nothing behind."""
        for part in self.parts:
            part.kill()
        try:
            if self.database is not None:
                self.database.close()
        finally:
            if self.disk is not None:
                self.disk.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _basic(self) -> tuple[str, str]:
        user, _, password = self.auth.partition(":")
        return user, password

    def secret(self, name: str, value: str) -> Path:
        path = self.folder / f"{name}.secret"
        path.touch(0o600)
        path.write_text(value)
        return path

    def _part(self, name: str, command: list[str], environment: dict[str, str]) -> Part:
        part = Part(name, command, environment, self.logs / f"{name}.log")
        self.parts.append(part)
        return part


def comparable(result: dict[str, Any]) -> dict[str, Any]:
    """What of a result must be the same wherever and however often it was computed."""
    image = {name: value for name, value in result["image"].items() if name != "path"}
    warnings = [each for each in result["warnings"] if not each.endswith(ELSEWHERE)]
    kept = {name: value for name, value in result.items() if name not in ("timings_s", "versions")}
    return kept | {"image": image, "warnings": warnings}


def results_of(out: Path) -> dict[str, dict[str, Any]]:
    """Results in an output folder, by digest of the content."""
    found = [json.loads(path.read_text()) for path in out.glob("*/result.json")]
    return {result["image"]["sha256"]: result for result in found}
