"""A watched folder: its ledger, its watcher, and what waits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flows.doctor.finding import Finding

CHECKS: dict[str, Callable[[Path], Finding]] = {}
