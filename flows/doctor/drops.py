"""A watched folder: its ledger, who looks into it, what failed and what waits."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from flows.doctor.finding import Finding, failed, ok, warning
from flows.doctor.folders import judge
from flows.doctor.words import age

if TYPE_CHECKING:
    from intake.ledger import Ledger

UNSEEN = 600.0
"""Seconds since the latest look into a folder after which its watcher seems to be gone; the default is every 30."""

LONG = 3600.0
"""Seconds that a file may wait before a person should know."""


def watched(folder: Path, now: float | None = None) -> list[Finding]:
    """Examine a watched folder, given itself or by the folder of its results."""
    from intake.errors import IntakeError
    from intake.ledger import Ledger
    from intake.places import LEDGER, find_out

    now = time.time() if now is None else now
    try:
        out = find_out(folder)
        with Ledger(out / LEDGER, readonly=True) as ledger:
            found = [_ledger(ledger), _watcher(out, ledger, now), _failed(out, ledger), _waiting(ledger, now)]
    except IntakeError as error:
        return [failed("ledger", error, f"automat watch {folder}")]
    return [*found, judge("output", out, "free space, or watch with another --out", shared=True)]


def _ledger(ledger: Ledger) -> Finding:
    counts, look = ledger.counts(), ledger.look()
    told = [f"{counts[state]} {state}" for state in ("done", "running", "waiting", "failed", "refused", "ignored")]
    text = f"{ledger.path}: {', '.join(each for each in told if not each.startswith('0 ')) or 'empty'}"
    if look and look.trouble:
        return warning(
            "ledger", f"{text}; the latest look: {'; '.join(look.trouble)}", "put that right; nothing is lost"
        )
    if look and look.warnings:
        return warning("ledger", f"{text}; {'; '.join(look.warnings)}", f"put that right in {look.root}")
    return ok("ledger", text)


def _watcher(out: Path, ledger: Ledger, now: float) -> Finding:
    from intake.claims import watcher

    holder, look = watcher(out), ledger.look()
    if holder:
        return ok("watcher", f"looking now ({holder})")
    if look is None:
        return warning("watcher", "nobody has looked into the folder yet", "automat watch DIR")
    text = f"{look.root} was looked into {age(now - look.at)} ago"
    if now - look.at > UNSEEN:
        return warning("watcher", f"{text}, and nobody does now", f"automat watch {look.root}")
    return ok("watcher", text)


def _failed(out: Path, ledger: Ledger) -> Finding:
    from intake.records import State

    failed = ledger.contents(State.FAILED)
    if not failed:
        return ok("failed files", "none")
    last = failed[-1]
    text = f"{len(failed)}; the latest: {last.name}: {last.reason or 'no reason told'}"
    return warning("failed files", text, f"automat status {out} lists them; automat retry {out} tries them again")


def _waiting(ledger: Ledger, now: float) -> Finding:
    from intake.records import State

    waiting, running = ledger.contents(State.WAITING), ledger.contents(State.RUNNING)
    if not waiting:
        return ok("waiting files", "none")
    oldest = waiting[0]
    text = f"{len(waiting)}, the first ({oldest.name}) for {age(now - oldest.seen_at)}; {len(running)} being worked on"
    if now - oldest.seen_at > LONG:
        return warning("waiting files", text, "start more workers (automat worker flow), or see whether any run")
    return ok("waiting files", text)
