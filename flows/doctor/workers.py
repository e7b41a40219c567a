"""Workers on this machine, by the signs of life that they leave in the cache folder."""

from __future__ import annotations

import json
import time
from pathlib import Path

from flows.doctor.finding import Finding, ok, skipped, warning
from flows.doctor.words import age
from microscopy.cache import cache_folder

SILENT = 60.0
"""Seconds; a worker leaves a sign every few."""


def signs(folder: Path | None = None, now: float | None = None) -> Finding:
    """Judge the signs of life of the workers that share this cache folder."""
    name, now = "workers", time.time() if now is None else now
    ages = {path.stem: now - _moment(path) for path in sorted((folder or cache_folder() / "workers").glob("*.json"))}
    if not ages:
        return skipped(name, "none has run with this cache folder")
    silent = {worker: each for worker, each in ages.items() if each > SILENT}
    if silent:
        worker, longest = max(silent.items(), key=lambda item: item[1])
        fault = f"{len(silent)} of {len(ages)} give no sign of life ({worker}: for {age(longest)})"
        remedy = f"start them again; if they were ended for good, delete {folder or cache_folder() / 'workers'}"
        return warning(name, fault, remedy)
    return ok(name, f"{len(ages)} give signs of life: {', '.join(ages)}")


def _moment(path: Path) -> float:
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["at"])
    except (OSError, ValueError, KeyError, TypeError):  # just being written
        return path.stat().st_mtime
