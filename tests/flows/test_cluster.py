"""The same work on processes and on Dask clusters: the same bytes, and a cluster that cannot do it is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import jobs
import library_jobs
import pytest
from distributed import LocalCluster
from library_digests import digests
from library_folders import entries
from pymatgen.io.cif import CifWriter
from typer.testing import CliRunner, Result

from flows import cluster
from flows.cli import app
from flows.private_server import OrchestrationError
from library import generate as generating
from library import preparing
from library.build import MODALITIES, add_entries, build_from_entries
from library.generate import all_decorations
from library.prototype_files import read_prototypes
from library.sources import Refusal
from library.workers import HERE, Workers, completed

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # distributed leaves sockets to the collector

TEAMS = {"one": (1, "process"), "two": (2, "process"), "dask": (2, "dask"), "dask-one": (1, "dask")}


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A cluster that is there: one process, two threads."""
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as there:
        yield there.scheduler_address


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "BATCH", 4)


def make(folder: Path, workers: Workers) -> dict[str, str]:
    """Build a library of several batches, add to it, and tell its content."""
    some = [*entries(10), Refusal("z", "bad"), *entries(6, 10)]
    build_from_entries(some, folder, MODALITIES, {"command": "test"}, None, workers)
    add_entries(entries(9, 14), folder, {"command": "test"}, None, workers)
    return digests(folder)


def test_a_cluster_that_is_there_makes_the_same_files(scheduler: str, tmp_path: Path) -> None:
    workers = cluster.workers(7, scheduler=scheduler)
    assert workers.count == 2
    assert make(tmp_path / "there", workers) == make(tmp_path / "here", HERE)


@pytest.mark.slow
@pytest.mark.parametrize("team", TEAMS.values(), ids=TEAMS)
def test_the_files_do_not_depend_on_who_made_them(team, tmp_path: Path) -> None:
    assert make(tmp_path / "team", cluster.workers(*team)) == make(tmp_path / "here", HERE)


@pytest.mark.slow
@pytest.mark.parametrize("team", [(2, "process"), (2, "dask")], ids=["process", "dask"])
def test_relaxed_structures_do_not_depend_on_who_relaxed_them(team, tmp_path: Path) -> None:
    plan = all_decorations(read_prototypes(), ["B", "N", "C", "Mo", "S", "Sn", "Se"])[:6]
    lines = {}
    for name, workers in {"here": HERE, "team": cluster.workers(*team)}.items():
        items = list(generating.generate(plan, tmp_path / f"{name}.jsonl", workers=workers))
        generating.write_generated(items, tmp_path / name, {"command": "test"}, source="test", workers=workers)
        lines[name] = sorted((tmp_path / f"{name}.jsonl").read_text().splitlines())
    assert lines["team"] == lines["here"]
    assert digests(tmp_path / "team") == digests(tmp_path / "here")


@pytest.mark.slow
@pytest.mark.parametrize("team", [(2, "process"), (2, "dask")], ids=["process", "dask"])
def test_a_build_outlives_its_workers(team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = make(tmp_path / "here", HERE)
    monkeypatch.setattr(preparing, "prepare_batch", library_jobs.dying_batch)
    assert make(tmp_path / "team" / "lib", cluster.workers(*team)) == expected
    assert (tmp_path / "team" / "died").exists()


@pytest.mark.slow
def test_what_kills_all_workers_of_dask_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(OrchestrationError, match="again and again"):
        list(completed(cluster.workers(2, "dask"), partial(jobs.die, traces=tmp_path), range(8)))


def automat(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["library", *(str(argument) for argument in arguments)])


def test_the_command_builds_adds_and_generates_on_a_cluster(
    scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for entry in entries(6):
        CifWriter(entry.structure).write_file(tmp_path / f"{entry.id}.cif")
    built = automat("build", *tmp_path.glob("test-[0-3].cif"), "--out", tmp_path / "lib", "--scheduler", scheduler)
    assert built.exit_code == 0, built.stderr
    added = automat("add", *tmp_path.glob("*.cif"), "--library", tmp_path / "lib", "--scheduler", scheduler, "--json")
    assert added.exit_code == 0, added.stderr
    assert json.loads(added.stdout)["added"] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--runner", "ray"), 2, "choose process or dask"),
        (("--scheduler", "tcp://127.0.0.1:1"), 1, "no Dask scheduler answers"),
        (("--scheduler", "nonsense://x"), 1, "no Dask scheduler answers"),
        (("--workers", "0"), 2, "--workers"),
    ],
)
def test_what_cannot_be_used_is_one_line(arguments, code, told, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_TIMEOUT", 0.5)
    result = automat("build", tmp_path, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == code
    assert told in result.stderr
    if code == 1:
        assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_cluster_without_workers_or_with_other_code_is_refused(
    scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "WORKER_TIMEOUT", 0.3)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as empty,
        pytest.raises(OrchestrationError, match="has no worker"),
    ):
        cluster.workers(1, scheduler=empty.scheduler_address)

    monkeypatch.setattr(cluster, "code_digest", threading.get_ident)  # workers have threads of their own
    with pytest.raises(OrchestrationError, match="has another version"):
        cluster.workers(1, scheduler=scheduler)


def test_workers_that_do_not_reach_the_server_are_named(scheduler: str) -> None:
    with cluster.connect(scheduler) as client, pytest.raises(OrchestrationError, match="does not reach"):
        cluster.require_server(client, "http://127.0.0.1:1/api")


def test_nobody_pays_for_dask_or_prefect_who_does_not_use_them() -> None:
    check = (
        "import sys, flows.cluster, library.build, library.generate; flows.cluster.workers(2);"
        "assert not {'dask', 'distributed', 'prefect'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
