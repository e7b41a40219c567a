"""A benchmark as a Prefect flow: one task an image, on processes of this machine or on a Dask cluster."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectWrappedFuture, as_completed
from prefect.settings import PREFECT_API_URL
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner

from benchmarks.evaluate import Bench, empty_record, evaluate, floor
from benchmarks.libraries import displaced_library, source_library
from benchmarks.materials import draw, load_materials
from benchmarks.request import Request
from benchmarks.results import (
    Plan,
    by_round,
    energy_path,
    pending,
    read_plan,
    record_path,
    write_plan,
    write_record,
)
from benchmarks.suites import Suite, all_cases
from flows.cluster import connect, local_cluster, require_server
from flows.progress import announce, listening
from library.build import Progress
from library.store import open_libraries
from models.potentials import load_potential
from tasks.caching import code_digest

VERSIONED = ("automat-stem", "numpy", "scipy", "torch", "abtem", "pymatgen", "spglib", "sevenn", "faiss-cpu", "prefect")

MEASURING = (
    "attribution.py",
    "cases.py",
    "cramer_rao.py",
    "evaluate.py",
    "libraries.py",
    "materials.py",
    "metrics.py",
    "pipeline.py",
    "stem2crystal/metrics.py",
    "stem2crystal/noise.py",
)
"""Modules of this package that a record depends on, as it does on all of the product's code."""

Outcome = dict[str, Any]
"""What is told of an image that is done: ``name``, ``right`` (one truth value an answer), ``error`` or None."""

TRIES = 3
"""Times that an image is begun: a worker that dies takes the images with it that it was working on."""


def make_plan(suite: Suite, request: Request, out: Path, cache: Path, progress: Progress) -> Plan:
    """Draw the materials, build the libraries and write down what will be measured.

    Raises
    ------
    BenchmarkError
        If the source holds nothing usable.
    """
    available, refused = load_materials(request.source, request.ids)
    chosen = draw(available, request.limit or suite.limit, request.seed)
    cases = by_round(all_cases(suite, chosen, request.seed))
    libraries = source_library(request.source, cache / "libraries", progress)
    displacements = {case.displacement for case in cases} - {0.0}
    displaced = None
    for displacement in displacements:
        displaced = displaced_library(chosen, displacement, request.seed, cache / "libraries")
    digests = [open_libraries(list(libraries) or None).digest]
    digests += [open_libraries([displaced]).digest] if displaced else []
    digests += [load_potential(request.potential).checkpoint] if request.potential else []
    plan = Plan(
        suite=suite.name,
        seed=request.seed,
        materials={material.id: material for material in chosen},
        cases={case.key: case for case in cases},
        facts={
            "identity": _identity(digests),
            "command": request.command,
            "source": request.source.name if request.source else "the embedded library",
            "available": len(available),
            "refused": refused,
            "library": digests,
            "bench": {
                "cells": str(cache / "cells"),
                "libraries": [str(path) for path in libraries],
                "displaced": str(displaced) if displaced else None,
                "potential": request.potential,
            },
            "versions": _versions(),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        },
    )
    write_plan(out, plan)
    return plan


def bench_of(plan: Plan) -> Bench:
    """What the cases of a plan share."""
    places = plan.facts["bench"]
    return Bench(
        Path(places["cells"]),
        tuple(Path(path) for path in places["libraries"]),
        Path(places["displaced"]) if places["displaced"] else None,
        places.get("potential"),
    )


@task(name="image", task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def measure_image(name: str, folder: str, key: str) -> Outcome:
    """Measure one case and keep its record; returns what a progress bar shows."""
    plan = read_plan(Path(folder))
    case = plan.cases[key]
    record = evaluate(case, plan.materials[case.material], bench_of(plan))
    write_record(record_path(Path(folder), key), record, plan.identity)
    return {"name": name, "right": [_right(each) for each in record["answers"]], "error": record.get("error")}


@task(name="energy", task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def measure_energy(name: str, folder: str, material: str) -> Outcome:
    """Relax one true structure and keep its energy."""
    plan = read_plan(Path(folder))
    record = floor(plan.materials[material], bench_of(plan).potential)
    write_record(energy_path(Path(folder), material), record, plan.identity)
    return {"name": name, "right": [], "error": record.get("error")}


@flow(name="benchmark", flow_run_name="{suite}", validate_parameters=False)
def sweep(suite: str, folder: str, keys: Sequence[str], energies: Sequence[str]) -> dict[str, str]:
    """Measure cases and energies of a plan.

    Returns
    -------
    dict
        Why a worker did not bring back what it was given, by key or id.
    """
    plan = read_plan(Path(folder))
    futures: dict[PrefectWrappedFuture[Any, Any], str] = {}
    for key in keys:
        name = f"{plan.cases[key].material}, {plan.cases[key].condition}"
        futures[measure_image.submit(name, folder, key)] = key
    for id in energies:
        futures[measure_energy.submit(f"{id}, true structure", folder, id)] = id
    lost = {}
    try:
        for future in as_completed(list(futures)):
            try:
                announce(future.result())  # not by a parameter: Prefect sends those to every worker
            except Exception as error:  # the worker died, or could not be reached
                lost[futures[future]] = f"{type(error).__name__}: {error}"
    except BaseException:  # stopped: else the runner would wait for all that is queued
        for future in futures:
            future.wrapped_future.cancel()
        raise
    return lost


def run(
    plan: Plan,
    folder: Path,
    workers: int,
    runner: str,
    watch: Callable[[Outcome], None],
    scheduler: str | None = None,
) -> None:
    """Measure what is left of a plan; an image on which workers keep dying is recorded as a failure.

    Parameters
    ----------
    plan, folder
        What to measure, and where it is kept.
    workers
        Processes.
    runner
        Where they run: on this machine under Prefect, or under Dask.
    watch
        Told of each image that is done.
    scheduler
        Address of a Dask cluster that is there, instead of workers of our own.

    Raises
    ------
    OrchestrationError
        If the cluster cannot be used.
    """
    lost: dict[str, str] = {}
    with listening(watch):
        for _ in range(TRIES):
            keys, energies = pending(folder, plan)
            if not keys and not energies:
                return
            configured = sweep.with_options(task_runner=_task_runner(runner, workers, scheduler))
            lost |= configured(plan.suite, str(folder.resolve()), keys, energies)
    keys, energies = pending(folder, plan)
    for key in keys:
        case = plan.cases[key]
        record = empty_record(case, plan.materials[case.material])
        record["error"] = f"its worker failed {TRIES} times ({lost.get(key, '')})"
        write_record(record_path(folder, key), record, plan.identity)
    for id in energies:
        write_record(energy_path(folder, id), {"material": id, "error": lost.get(id, "")}, plan.identity)


def _task_runner(runner: str, workers: int, scheduler: str | None = None) -> TaskRunner[Any]:
    if runner == "process" and scheduler is None:
        return ProcessPoolTaskRunner(max_workers=workers)
    from prefect_dask import DaskTaskRunner

    if scheduler is None:
        return DaskTaskRunner(cluster_kwargs=local_cluster(workers))
    with connect(scheduler) as client:
        require_server(client, str(PREFECT_API_URL.value()))
    return DaskTaskRunner(address=scheduler)


def _right(answer: Mapping[str, Any]) -> bool:
    return bool(answer.get("score") and answer["score"]["success"])


def _identity(digests: Sequence[str]) -> str:
    """Digest of the libraries and of all code that a record depends on."""
    state = hashlib.sha256("\n".join([code_digest(), *digests]).encode())
    for name in MEASURING:
        state.update(name.encode() + (Path(__file__).parent / name).read_bytes())
    return state.hexdigest()[:16]


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
