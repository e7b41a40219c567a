"""A vendor's metadata as plain JSON values of bounded size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np

MAX_DEPTH = 8
MAX_ENTRIES = 2000
MAX_LIST = 32
MAX_TEXT = 400
"""Bounds that keep the record of any file below about half a megabyte; tables and thumbnails are what they cut."""


def plain(tree: Mapping[Any, Any]) -> dict[str, Any]:
    """Metadata with only str, int, float, bool, None, lists and string-keyed dicts; long parts are left out."""
    budget = [MAX_ENTRIES]
    value = _plain(tree, 0, budget)
    return value if isinstance(value, dict) else {}


def _plain(value: Any, depth: int, budget: list[int]) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Enum):  # tifffile's tags are integers that remember their class
        value = value.value
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if value is None or isinstance(value, bool | int):
        return value if not isinstance(value, int) or abs(value) < 2**63 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else value[:MAX_TEXT] + "…"
    if isinstance(value, np.ndarray):
        value = value.tolist() if 0 < value.size <= MAX_LIST else f"array {value.shape} {value.dtype}"
        return _plain(value, depth, budget)
    if depth >= MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        out = {}
        for key, item in value.items():
            budget[0] -= 1
            if budget[0] < 0:
                break
            out[str(key)] = _plain(item, depth + 1, budget)
        return out
    if isinstance(value, list | tuple | set | frozenset):
        items = list(value)
        budget[0] -= min(len(items), MAX_LIST)
        return [_plain(item, depth + 1, budget) for item in items[:MAX_LIST]]
    return str(value)[:MAX_TEXT]
