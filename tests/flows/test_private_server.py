"""The private Prefect server, for real, in processes of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from flows.private_server import OrchestrationError, Orchestrator, client_environment

pytestmark = pytest.mark.prefect

PAUSING = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, and what they start, ignore it
from microscopy import readers
def read(path, options):
    import os
    print("reading", os.environ["PREFECT_API_URL"], file=sys.__stderr__, flush=True)
    time.sleep(120)
readers.read_micrograph = read
from flows.cli import main
sys.argv = ["automat", "reconstruct", *sys.argv[1:]]
main()
"""


def environment(cache: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {**kept, "AUTOMAT_CACHE": str(cache)}


def answers(url: str) -> bool:
    port = int(url.split(":")[2].split("/")[0])
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_nothing_behind(how: signal.Signals, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(32, 40)).astype(np.float32))
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = subprocess.Popen(
        [sys.executable, "-c", PAUSING, "x.npy", "--no-relax"],
        cwd=tmp_path,
        env={**environment(tmp_path / "cache"), "TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert command.stderr is not None
        assert command.stdout is not None
        word, url = command.stderr.readline().split()
        assert word == "reading"
        assert answers(url)
        command.send_signal(how)
        code = command.wait(60)
        if how is signal.SIGINT:
            assert code == 130
            assert command.stderr.read().splitlines() == ["automat: interrupted"]
            assert command.stdout.read() == ""
        deadline = time.monotonic() + 30
        while (answers(url) or list(temporary.iterdir())) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not answers(url)
        assert not list(temporary.iterdir())
    finally:
        command.kill()
        command.communicate()
    assert not (tmp_path / "runs").exists()


def test_a_server_that_is_not_there_is_one_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(OrchestrationError, match="does not answer"):
        Orchestrator(f"http://127.0.0.1:{port}/api", None).wait()


def test_what_the_user_set_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_HOME", "/mine")
    monkeypatch.setenv("PREFECT_API_URL", "http://lab:4200/api")
    wanted = client_environment(tmp_path, verbose=False)
    assert not {"PREFECT_HOME", "PREFECT_API_URL", "PREFECT_LOGGING_TO_API_ENABLED"} & set(wanted)


def test_tables_made_from_the_models_are_those_of_the_migrations(tmp_path: Path) -> None:
    import sqlite3

    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

    from flows.private_server import create_tables

    def columns(path: str) -> dict[str, set[str]]:
        connection = sqlite3.connect(path)
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {name: {row[1] for row in connection.execute(f"PRAGMA table_info('{name}')")} for name in names}
        connection.close()
        return found

    create_tables(tmp_path / "made.db")
    made = columns(str(tmp_path / "made.db"))
    migrated = columns(PREFECT_API_DATABASE_CONNECTION_URL.value().removeprefix("sqlite+aiosqlite:///"))
    assert {"flow_run", "task_run", "artifact"} <= made.keys()
    # Migrations leave tables and columns behind that the models no longer know.
    assert all(made[name] <= migrated[name] for name in made)
