"""A folder that is being watched, as on a laptop, and a browser on its Prefect UI."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from browser import CHROMIUM, Browser

from intake.errors import LedgerError
from intake.ledger import Ledger
from intake.places import LEDGER
from intake.records import Content, State

DEMO = Path(__file__).parents[2] / "microscopy" / "data" / "demo.tif"

GOOD, CUT, EMPTY = "flake 07.tif", "flake 08 (half copied).tif", "flake 09 <blank>.npy"

PATIENCE = 1500.0
"""Seconds until all files have an answer: more than a minute each on a busy machine."""

AUTOMAT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may have it ignored
from flows.cli import main
main()
"""

ANSWERED = (State.DONE, State.FAILED)


@dataclass(frozen=True)
class Watched:
    """A watched folder with answers, and the server that shows them."""

    url: str
    folder: Path
    out: Path

    @property
    def ui(self) -> str:
        return f"{self.url}/v2"

    def contents(self) -> dict[str, Content]:
        with Ledger(self.out / LEDGER, readonly=True) as ledger:
            return {content.name: content for content in ledger.contents()}

    def ask(self, path: str, **query: Any) -> Any:
        return httpx.post(f"{self.url}/api/{path}", json=query, timeout=60).raise_for_status().json()

    def artifact(self, key: str) -> dict[str, Any]:
        found = self.ask("artifacts/filter", artifacts={"key": {"any_": [key]}})
        assert len(found) == 1, f"{key}: {len(found)} artifacts"
        return dict(found[0])

    def artifact_of(self, name: str) -> dict[str, Any]:
        run = self.contents()[name].run_id
        (found,) = self.ask("artifacts/filter", artifacts={"flow_run_id": {"any_": [run]}})
        return dict(found)


@pytest.fixture(scope="session")
def watched() -> Iterator[Watched]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: nothing to look at the UI with")
    with tempfile.TemporaryDirectory(prefix="lab-", ignore_cleanup_errors=True) as name:
        yield from _watch(Path(name))


def _watch(lab: Path) -> Iterator[Watched]:
    folder = lab / "microscope"
    folder.mkdir()
    drop(folder)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    homes = {"AUTOMAT_CACHE": str(lab / "cache"), "PREFECT_HOME": str(lab / "server")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    command = ["watch", str(folder), "--every", "5s", "--port", str(port)]
    with (lab / "watch.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", AUTOMAT, *command],
            env=kept | homes,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    watched = Watched(f"http://127.0.0.1:{port}", folder, lab / "microscope-results")
    try:
        _wait(watched, process, lab / "watch.log")
        yield watched
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        finally:
            process.kill()
            process.wait()


def drop(folder: Path) -> None:
    """Put in what a microscope may leave: a good image, one cut short, one of nothing with a name that is markup."""
    demo = DEMO.read_bytes()
    _put(folder / GOOD, demo, elements=["Sn", "Se"])
    _put(folder / CUT, demo[:20_000])
    noise = np.random.default_rng(8).poisson(5.0, (128, 160)).astype(np.float32)
    (folder / "night").mkdir()
    np.save(folder / "night" / EMPTY, noise)
    _put(folder / "night" / "automat.toml", b"pixel_size = 0.11\n")


def _put(path: Path, data: bytes, **options: Any) -> None:
    path.write_bytes(data)
    if options:
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in options.items()]
        path.with_name(f"{path.name}.toml").write_text("".join(lines))


def _wait(watched: Watched, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until every file has an answer and the UI was told."""
    deadline = time.monotonic() + PATIENCE
    while not _told(watched):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(2)


def _told(watched: Watched) -> bool:
    try:
        contents = watched.contents().values()
        if len(contents) < 3 or any(each.state not in ANSWERED for each in contents):
            return False
        return bool(watched.artifact("folder-microscope-progress")["data"] == 100)
    except (LedgerError, httpx.HTTPError, AssertionError):
        return False


@pytest.fixture(scope="session")
def browser(watched: Watched, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as page:
        yield page
