"""A step and its arguments as a record: what another process needs to run it."""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass, replace
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
    return STEPS[call.step](*call.arguments)


def _timeless(argument: Any) -> Any:
    if isinstance(argument, Ref):
        return replace(argument, seconds=0.0)
    assert argument is None or isinstance(argument, str) or is_dataclass(argument)
    return argument
