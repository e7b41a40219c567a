"""What a watched folder comes to, line by line, for a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from intake.errors import LedgerError
from intake.ledger import Ledger
from intake.places import LEDGER, shown
from intake.records import Content, State
from reporting import words

POLL = 2.0
"""Seconds between two looks at the ledger."""


def follow(out: Path) -> Iterator[str]:
    """Give a line for each content that gets an answer from now on, and for each trouble; never ends."""
    known, troubles = _ended(out), set[str]()
    while True:
        time.sleep(POLL)
        try:
            now = _ended(out)
            with Ledger(out / LEDGER, readonly=True) as ledger:
                look = ledger.look()
        except LedgerError:
            continue  # being written, or its disk is away: the pass tells of it
        for key in now.keys() - known.keys():
            yield line(now[key])
        known = now
        current = set(look.trouble) if look else set()
        yield from (f"{time.strftime('%H:%M:%S')} {trouble}" for trouble in sorted(current - troubles))
        troubles = current


def line(content: Content) -> str:
    """One line about a content that has an answer."""
    clock = time.strftime("%H:%M:%S", time.localtime(content.finished_at))
    answer = words.formula(content.formula) if content.formula else content.reason
    sure = f" {100 * content.confidence:.0f} %" if content.formula and content.confidence is not None else ""
    return f"{clock} {shown(content.path)}: {content.status or content.state}, {answer}{sure}"


def _ended(out: Path) -> dict[str, Content]:
    with Ledger(out / LEDGER, readonly=True) as ledger:
        return {content.key: content for content in ledger.contents(State.DONE, State.FAILED)}
