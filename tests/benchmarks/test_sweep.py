"""The sweep loses nothing: a bad image, a dead worker, a stopped run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster
from monolayers import MONOLAYERS
from prefect.task_runners import ThreadPoolTaskRunner

from benchmarks import sweep
from benchmarks.cases import Case, Question
from benchmarks.materials import Material
from benchmarks.results import Plan, energies, pending, records, write_plan

task_runner = sweep._task_runner


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    materials = {name: Material(name, MONOLAYERS[name][0]) for name in ("graphene", "h-BN", "CrI3")}
    cases = [Case(name, (Question("I", relax=name == "h-BN"),), dose=1e4) for name in materials]
    places = {"cells": str(tmp_path / "cells"), "libraries": [], "displaced": None}
    made = Plan("quick", 1, materials, {c.key: c for c in cases}, {"identity": "code", "bench": places})
    write_plan(tmp_path, made)
    return made


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Workers that are threads, and measure nothing; one material kills its worker."""
    calls: Counter[str] = Counter()

    def evaluate(case: Case, material: Material, bench: Any) -> dict[str, Any]:
        calls[material.id] += 1
        if material.id == "CrI3":
            raise RuntimeError("killed")
        return {"case": case.to_json(), "tier": 1, "formula": "X", "answers": [{"score": {"success": True}}]}

    monkeypatch.setattr(sweep, "evaluate", evaluate)
    monkeypatch.setattr(sweep, "floor", lambda material, potential: {"material": material.id, "formation": -1.0})
    monkeypatch.setattr(sweep, "_task_runner", _threads)
    return calls


def _threads(runner: str, workers: int, scheduler: str | None) -> Any:
    return ThreadPoolTaskRunner(max_workers=workers)


@pytest.mark.prefect
def test_what_kills_its_worker_is_tried_again_and_then_recorded(
    plan: Plan, measured: Counter[str], tmp_path: Path
) -> None:
    told: list[dict[str, Any]] = []
    sweep.run(plan, tmp_path, 2, "process", told.append)
    assert measured == {"graphene": 1, "h-BN": 1, "CrI3": sweep.TRIES}
    assert pending(tmp_path, plan) == ([], [])
    errors = {each["case"]["material"]: each.get("error") for each in records(tmp_path, plan)}
    assert errors["graphene"] is None
    assert "killed" in str(errors["CrI3"])
    assert list(energies(tmp_path, plan)) == ["h-BN"]
    assert sorted(each["name"] for each in told) == [
        "graphene, 10000 e/Å²",
        "h-BN, 10000 e/Å²",
        "h-BN, true structure",
    ]
    # Everything is there: nothing is measured, and Prefect is not even asked.
    measured.clear()
    sweep.run(plan, tmp_path, 2, "process", told.append)
    assert measured == {}


@pytest.mark.prefect
def test_a_run_that_is_stopped_does_not_wait_for_what_is_queued(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun: list[str] = []

    def evaluate(case: Case, material: Material, bench: Any) -> dict[str, Any]:
        begun.append(material.id)
        time.sleep(1.0)
        return {"case": case.to_json(), "tier": 1, "formula": "X", "answers": []}

    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    cases = [Case("graphene", (), dose=float(dose)) for dose in range(1, 9)]
    many = replace(plan, cases={case.key: case for case in cases})
    write_plan(tmp_path, many)
    monkeypatch.setattr(sweep, "evaluate", evaluate)
    monkeypatch.setattr(sweep, "_task_runner", lambda runner, workers, scheduler: ThreadPoolTaskRunner(max_workers=1))
    with pytest.raises(KeyboardInterrupt):
        sweep.run(many, tmp_path, 1, "process", stop)
    assert 1 <= len(begun) < len(cases)


@pytest.mark.prefect
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # distributed leaves sockets to the collector
def test_a_cluster_that_is_there_measures_the_same(
    plan: Plan, measured: Counter[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sweep, "_task_runner", task_runner)
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as there:
        sweep.run(plan, tmp_path, 1, "process", lambda _: None, there.scheduler_address)
    errors = {each["case"]["material"]: each.get("error") for each in records(tmp_path, plan)}
    assert (errors["graphene"], errors["h-BN"]) == (None, None)
    assert "killed" in str(errors["CrI3"])
    assert list(energies(tmp_path, plan)) == ["h-BN"]


def command(out: Path, *more: str) -> list[str]:
    start = "from flows.cli import main; main()"
    return [sys.executable, "-c", start, "bench", "run", "quick", "--limit", "2", "--out", str(out), *more]


def environment(cache: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {**kept, "AUTOMAT_CACHE": str(cache)}


def numbers(out: Path) -> dict[str, Any]:
    """All that was measured but for what a clock or the memory's size says."""
    found = {}
    for path in sorted((out / "results").glob("*.json")):
        record = json.loads(path.read_text())
        record.pop("simulate_s", None)
        for answer in record["answers"]:
            answer.pop("seconds", None)
            answer.pop("peak_mib", None)
        found[path.name] = record
    return found


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_as_one_that_was_not_killed(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    out = tmp_path / "killed"
    started = subprocess.Popen(
        command(out, "--workers", "1"), env=environment(cache), stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 300
    while not list((out / "results").glob("*.json")):
        assert started.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    before = {path.name: path.stat().st_mtime_ns for path in (out / "results").glob("[!.]*.json")}
    assert 0 < len(before) < 4
    again = subprocess.run(
        command(out, "--workers", "1"), env=environment(cache), capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert f"{len(before)} already measured" in again.stderr
    after = {path.name: path.stat().st_mtime_ns for path in (out / "results").glob("*.json")}
    assert {name: after[name] for name in before} == before
    assert len(after) == 4
    assert (out / "report.html").is_file()

    quiet = tmp_path / "quiet"
    whole = subprocess.run(
        command(quiet, "--workers", "2", "--runner", "dask"),
        env=environment(cache),
        capture_output=True,
        text=True,
        check=False,
    )
    assert whole.returncode == 0, whole.stderr
    assert numbers(quiet) == numbers(out)
