"""Tell whoever watches a run how it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_LISTENER: ContextVar[Callable[[Any], None] | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Callable[[Any], None]) -> Iterator[None]:
    """Call ``listener`` with whatever is announced within the context."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def announce(news: Any) -> None:
    """Say that a stage starts (its name), or that one of many jobs is done (its outcome)."""
    listener = _LISTENER.get()
    if listener is not None:
        listener(news)
