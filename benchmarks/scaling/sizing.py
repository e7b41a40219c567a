"""From what a micrograph costs to what so many a minute need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from benchmarks.scaling.product import KNOWN, UNKNOWN
from benchmarks.tables import Table

RATES = (10, 100, 1000)
"""Micrographs a minute."""

LOAD = 0.7
"""Share of the time that workers are meant to be busy: closer to one, a queue grows long before it shrinks."""

GPU_STAGES, LIBRARY_STAGES = ("denoise", "relax"), ("retrieve",)
"""Stages that may be sent to workers of their own."""

DAY = 24 * 60
MIB, GIB = 2**20, 2**30

COSTS, STAGES, NEEDS = "What a micrograph costs", "Where the seconds go", "What so many a minute need"


def costs(measured: dict[str, Any]) -> Table:
    """Costs of one micrograph, by what the user told of it."""
    groups = _groups(measured)
    number = len(measured["lines"]) + 1  # and the first one, which is not among the lines
    stored = measured["server_bytes"]
    rows = (
        _row("images", groups, lambda lines: f"{len(lines)}"),
        _row("CPU seconds, mean", groups, lambda lines: f"{_mean(lines, 'cpu_s'):.1f}"),
        _row("CPU seconds, largest", groups, lambda lines: f"{max(line['cpu_s'] for line in lines):.1f}"),
        _row("seconds on the clock, mean", groups, lambda lines: f"{_mean(lines, 'wall_s'):.1f}"),
        _row(
            "peak memory of the process, MiB",
            groups,
            lambda lines: f"{max(line['peak_mib'] or 0 for line in lines):.0f}",
        ),
        _row("run folder, MiB", groups, lambda lines: f"{_mean(lines, 'result_bytes') / MIB:.1f}"),
        _row("cache, MiB", groups, lambda lines: f"{_mean(lines, 'cache_bytes') / MIB:.1f}"),
        ("task runs in Prefect", *[f"{measured['task_runs'] / number:.1f}"] * 2),
        ("CPU seconds of Prefect's server", *[f"{measured['server_cpu_s'] / number:.2f}"] * 2),
        ("server's database, kiB", *["–" if stored is None else f"{stored / number / 1024:.0f}"] * 2),
    )
    note = (
        "One thread, a process that has done another micrograph before; 512 × 512 pixels. Rows of Prefect are means "
        f"over both columns. A server with nothing to do uses {measured['idle']:.1%} of a core, which is not counted."
    )
    return Table(COSTS, ("", *groups), rows, note)


def stages(measured: dict[str, Any]) -> Table:
    """CPU seconds of a micrograph by stage."""
    groups = _groups(measured)
    names = list(dict.fromkeys(name for line in measured["lines"] for name in line["stages"]))
    rows = [
        (name, *(f"{fmean(stage_seconds(line, (name,)) for line in lines):.2f}" for lines in groups.values()))
        for name in names
    ]
    rest = (fmean(line["cpu_s"] - stage_seconds(line, names) for line in lines) for lines in groups.values())
    rows.append(("the flow itself, artifacts, files", *(f"{seconds:.2f}" for seconds in rest)))
    note = "CPU seconds of a micrograph, mean over all; a stage includes Prefect's part in this process."
    return Table(STAGES, ("stage", *groups), tuple(rows), note)


def stage_seconds(line: dict[str, Any], names: Sequence[str]) -> float:
    """CPU seconds of some stages of one micrograph."""
    return float(sum(line["stages"].get(name, 0.0) for name in names))


def needs(measured: dict[str, Any], told: str = KNOWN) -> Table:
    """Workers, memory, disk and servers for each of `RATES`; extrapolated from one process."""
    lines = _groups(measured)[told]
    number = len(measured["lines"]) + 1
    cpu, server = _mean(lines, "cpu_s"), measured["server_cpu_s"] / number
    gpu = fmean(stage_seconds(line, GPU_STAGES) for line in lines)
    library = fmean(stage_seconds(line, LIBRARY_STAGES) for line in lines)
    stored = measured["server_bytes"]

    def row(name: str, value: Any) -> tuple[str, ...]:
        return (name, *(value(rate) for rate in RATES))

    rows = (
        row("flow workers, everything in them", lambda rate: f"{workers(rate, cpu):,}"),
        row("memory for them, GiB", lambda rate: f"{workers(rate, cpu) * measured['peak_mib'] / 1024:,.0f}"),
        row("or: flow workers beside the two below", lambda rate: f"{workers(rate, cpu - gpu - library):,}"),
        row("denoise and relax, on CPU cores", lambda rate: f"{workers(rate, gpu):,}"),
        row("library workers", lambda rate: f"{workers(rate, library):,}"),
        row("task runs a minute", lambda rate: f"{rate * measured['task_runs'] / number:,.0f}"),
        row("cores for Prefect's server", lambda rate: f"{rate / 60 * server + measured['idle']:.2f}"),
        row("results, GiB a day", lambda rate: f"{rate * DAY * _mean(lines, 'result_bytes') / GIB:,.1f}"),
        row("cache, GiB a day", lambda rate: f"{rate * DAY * _mean(lines, 'cache_bytes') / GIB:,.1f}"),
        row(
            "server's database, GiB a day",
            lambda rate: "–" if stored is None else f"{rate * DAY * stored / number / GIB:,.1f}",
        ),
    )
    note = (
        f"Extrapolated: one process was measured, {told}. A worker is one process on one core, busy {LOAD:.0%} of "
        "the time."
    )
    return Table(NEEDS, ("", *(f"{rate:,} a minute" for rate in RATES)), rows, note)


def workers(rate: float, seconds: float) -> int:
    """Processes for so many micrographs a minute, each of which takes a core so many seconds."""
    return math.ceil(rate / 60 * seconds / LOAD)


def _groups(measured: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    return {told: [line for line in measured["lines"] if line["told"] == told] for told in (KNOWN, UNKNOWN)}


def _mean(lines: Sequence[dict[str, Any]], name: str) -> float:
    return fmean(line[name] for line in lines)


def _row(name: str, groups: dict[str, list[dict[str, Any]]], value: Any) -> tuple[str, ...]:
    return (name, *(value(lines) for lines in groups.values()))
