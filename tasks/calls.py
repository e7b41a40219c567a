"""Calls of steps: made here, or kept as a record, which is what another process needs to make them."""

from __future__ import annotations

import os
from dataclasses import dataclass, is_dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

from prefect import Task

from tasks import steps
from tasks.store import Ref, load, save

STEPS: dict[str, Task[..., Ref]] = {step.name: step for step in (steps.denoise, steps.retrieve, steps.relax)}
"""Steps that another process may run, by name."""


@dataclass(frozen=True)
class Call:
    """A step by name, with its arguments."""

    step: str
    arguments: tuple[Any, ...]


def make(step: Task[..., Ref], arguments: tuple[Any, ...]) -> Ref:
    """Run a step, or find its result in the cache and mark it as used; one whose record is gone is computed again.

    Raises
    ------
    AutoMatError
        Whatever the step raises.
    """
    ref = step(*arguments)
    if not _touched(ref.path):
        ref = step.with_options(refresh_cache=True)(*arguments)
    _touched(result_file(step, arguments))
    return ref


def result_file(step: Task[..., Ref], arguments: tuple[Any, ...]) -> Path:
    """File in which Prefect keeps the result of a step, once there is one."""
    from prefect.results import get_default_result_storage

    assert step.cache_key_fn is not None
    parameters = signature(step.fn).bind(*arguments)
    parameters.apply_defaults()
    key = step.cache_key_fn(None, dict(parameters.arguments))  # type: ignore[arg-type]
    storage: Any = get_default_result_storage(_sync=True)
    return Path(storage.basepath).expanduser() / str(key)


def keep(step: Task[..., Ref], arguments: tuple[Any, ...]) -> Ref:
    """Store a call; equal calls have equal references, whenever their arguments were computed.

    Raises
    ------
    StoreError
        If the disk refuses.
    """
    return save(Call(step.name, tuple(_timeless(each) for each in arguments)))


def run(digest: str) -> Ref:
    """Run a stored call.

    Raises
    ------
    StoreError
        If it is not in this machine's store: the cache folder is not the caller's.
    AutoMatError
        Whatever the step raises.
    """
    call: Call = load(Ref(Call.__name__, digest))
    return make(STEPS[call.step], call.arguments)


def _touched(path: Path) -> bool:
    """Give a file the time of now, by which `tasks.upkeep` sees that it is in use; whether it is there."""
    try:
        os.utime(path)
    except OSError:  # gone, or somebody else's
        return path.is_file()
    return True


def _timeless(argument: Any) -> Any:
    if isinstance(argument, Ref):
        return replace(argument, seconds=0.0)
    assert argument is None or isinstance(argument, str) or is_dataclass(argument)
    return argument
