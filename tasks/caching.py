"""Cache keys: what a step's result depends on, and nothing else. Never a path, never the time."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from tasks.store import Ref

DISTRIBUTION = "automat-stem"

CODE = ("microscopy", "models", "library", "reconstruction", "planning", "reporting", "tasks")
CODE_SUFFIXES = frozenset({".py", ".json", ".toml", ".j2", ".css", ".js"})
"""What a step may run or read besides its parameters; libraries and weights have digests of their own."""


@dataclasses.dataclass(frozen=True)
class SourceFile:
    """An input file; its contents and its suffix (which chooses the reader) are its identity."""

    path: Path
    sha256: str

    @property
    def identity(self) -> list[str]:
        """What a cache key sees."""
        return [self.sha256, self.path.suffix.lower()]


@dataclasses.dataclass(frozen=True)
class LibraryRef:
    """Libraries by folder (empty: the embedded one); their digest is their identity."""

    paths: tuple[str, ...]
    digest: str

    @property
    def identity(self) -> str:
        """What a cache key sees."""
        return self.digest


@dataclasses.dataclass(frozen=True)
class PotentialRef:
    """A potential as the user asked for it; the weights and the way they were chosen are its identity."""

    wanted: str | None
    name: str
    checkpoint: str
    fallback: str = ""

    @property
    def identity(self) -> list[str]:
        """What a cache key sees."""
        return [self.name, self.checkpoint, self.fallback]


@dataclasses.dataclass(frozen=True)
class Aside:
    """A parameter that only labels a result (timings): no part of its identity."""

    value: Any

    @property
    def identity(self) -> None:
        """What a cache key sees."""
        return


def cache_key(step: str) -> Callable[[Any, Mapping[str, Any]], str]:
    """Give Prefect's ``cache_key_fn`` of a step: its name, the code of the project, and the parameters."""

    def key(context: Any, parameters: Mapping[str, Any]) -> str:
        contents = [step, code_digest(), canonical(parameters)]
        text = json.dumps(contents, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return f"automat-{step}-{hashlib.sha256(text.encode()).hexdigest()}"

    return key


def canonical(value: Any) -> Any:
    """JSON value that is equal exactly when two parameters mean the same.

    Raises
    ------
    TypeError
        If a value has no content to hash, such as a bare path.
    """
    if hasattr(value, "identity"):
        return {type(value).__name__: value.identity}
    match value:
        case Enum():
            return canonical(value.value)
        case float() if not math.isfinite(value):
            return {"float": repr(value)}
        case None | bool() | int() | float() | str():
            return value
        case tuple() | list():
            return [canonical(item) for item in value]
        case Mapping():
            return {str(key): canonical(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        fields = {f.name: canonical(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {type(value).__name__: fields}
    raise TypeError(f"{type(value).__name__} cannot be part of a cache key")


@cache
def code_digest() -> str:
    """Digest of the project's code and its small data files: an update never meets the results of older code."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for package in CODE:
        for path in sorted((root / package).rglob("*")):
            if path.suffix in CODE_SUFFIXES and path.is_file():
                digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


__all__ = ["Aside", "LibraryRef", "PotentialRef", "Ref", "SourceFile", "cache_key", "canonical", "code_digest"]
