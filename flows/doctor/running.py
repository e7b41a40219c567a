"""Run checks side by side, each within its time, whatever it does."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from flows.doctor.finding import Finding, State, warning
from flows.doctor.masking import masked
from microscopy.errors import AutoMatError

logger = logging.getLogger("automat")

LIMIT = 12.0
"""Seconds for a check that does not say otherwise."""


@dataclass(frozen=True)
class Check:
    """One thing to look at.

    Attributes
    ----------
    name
        What to call it when it gives no answer.
    look
        Looks, and says what it found.
    limit
        Seconds it may take.
    """

    name: str
    look: Callable[[], Finding | Sequence[Finding]]
    limit: float = LIMIT


@dataclass(frozen=True)
class Section:
    """Checks that belong together.

    Attributes
    ----------
    name
        Heading.
    checks
        In the order in which they are told.
    gate
        A check without whose success the others make no sense.
    """

    name: str
    checks: Sequence[Check]
    gate: Check | None = None


def examine(sections: Sequence[Section]) -> Iterator[tuple[str, list[Finding]]]:
    """Run all checks at once and tell section by section what they found."""
    gates = [None if section.gate is None else _Running(section.gate) for section in sections]
    running = [
        [_Running(check) for check in section.checks] if gate is None else []
        for section, gate in zip(sections, gates, strict=True)
    ]
    for section, gate, started in zip(sections, gates, running, strict=True):
        first = gate.findings() if gate else []
        if gate and first[-1].state in (State.OK, State.WARNING):
            started.extend(_Running(check) for check in section.checks)
        yield section.name, [*first, *(finding for each in started for finding in each.findings())]


class _Running:
    """A check in a thread that the end of the program does not wait for."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._found: list[Finding] = []
        self._deadline = time.monotonic() + check.limit
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def findings(self) -> list[Finding]:
        """What was found, without secrets; that nothing was found in time, otherwise."""
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        name, limit = self._check.name, self._check.limit
        found = self._found or [warning(name, f"no answer within {limit:g} s", "look again when the machine is idle")]
        return [replace(each, text=_clean(each.text), remedy=_clean(each.remedy)) for each in found]

    def _run(self) -> None:
        try:
            found = self._check.look()
        except AutoMatError as error:
            found = warning(self._check.name, f"could not be examined: {error}", "put that right first")
        except Exception as error:  # a check must not keep the others from being told
            logger.debug("%s", self._check.name, exc_info=True)
            fault = f"could not be examined ({type(error).__name__}: {error})"
            found = warning(self._check.name, fault, "run 'automat --verbose doctor' and report what it says")
        self._found = [found] if isinstance(found, Finding) else list(found)


def _clean(text: str) -> str:
    return masked(" ".join(text.split()), os.environ)
