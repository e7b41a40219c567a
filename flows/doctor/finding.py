"""What a check found: one line, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from microscopy.errors import AutoMatError


class State(StrEnum):
    """How bad it is: only `BROKEN` has to be put right; `SKIPPED` says nothing about health."""

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Attributes
    ----------
    name
        What was looked at.
    state
        How it is.
    text
        What was found.
    remedy
        What to do; empty where there is nothing to do.
    """

    name: str
    state: State
    text: str
    remedy: str = ""


def ok(name: str, text: str) -> Finding:
    """As it should be."""
    return Finding(name, State.OK, text)


def failed(name: str, error: AutoMatError, remedy: str) -> Finding:
    """What an error of the project says: what is wrong; what to do, or ``remedy`` where it does not say that."""
    wrong, _, told = str(error).partition("; ")
    return broken(name, wrong, told or remedy)


def skipped(name: str, text: str) -> Finding:
    """Not looked at, and why."""
    return Finding(name, State.SKIPPED, text)


def warning(name: str, text: str, remedy: str) -> Finding:
    """It works, but not as well as it could, or not for long."""
    return Finding(name, State.WARNING, text, remedy)


def broken(name: str, text: str, remedy: str) -> Finding:
    """Something will fail, or is open to others."""
    return Finding(name, State.BROKEN, text, remedy)
