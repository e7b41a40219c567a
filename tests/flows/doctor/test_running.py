from __future__ import annotations

import threading
import time

import pytest

from flows.doctor.finding import Finding, State, broken, ok, skipped, warning
from flows.doctor.running import Check, Section, examine
from microscopy.errors import LibraryError


def fails() -> Finding:
    raise KeyError("name")


def complains() -> Finding:
    raise LibraryError("no such library")


def only(section: Section) -> list[Finding]:
    ((name, findings),) = examine([section])
    assert name == section.name
    return findings


def test_findings_come_in_the_order_of_the_checks() -> None:
    release = threading.Event()

    def slow() -> Finding:
        assert release.wait(5)
        return ok("slow", "")

    def quick() -> list[Finding]:
        release.set()  # side by side, or this would never be reached
        return [ok("a", ""), ok("b", "")]

    found = only(Section("s", (Check("slow", slow), Check("quick", quick))))
    assert [each.name for each in found] == ["slow", "a", "b"]


def test_a_check_that_raises_is_told_of_and_stops_nothing() -> None:
    first, second, third = only(
        Section("s", (Check("x", fails), Check("y", complains), Check("z", lambda: ok("z", ""))))
    )
    assert (first.name, first.state) == ("x", State.WARNING)
    assert "KeyError" in first.text
    assert second.text == "could not be examined: no such library"
    assert third.state is State.OK


def test_a_check_that_hangs_is_told_of_in_time() -> None:
    began = time.monotonic()
    (found,) = only(Section("s", (Check("hangs", lambda: time.sleep(60) or ok("", ""), limit=0.1),)))
    assert time.monotonic() - began < 10
    assert found.state is State.WARNING
    assert "no answer within 0.1 s" in found.text


@pytest.mark.parametrize(
    ("gate", "more"),
    [(ok("g", ""), True), (warning("g", "", ""), True), (skipped("g", ""), False), (broken("g", "", ""), False)],
)
def test_a_gate_decides_whether_the_others_make_sense(gate: Finding, more: bool) -> None:
    found = only(Section("s", (Check("x", lambda: ok("x", "")),), gate=Check("g", lambda: gate)))
    assert [each.name for each in found] == (["g", "x"] if more else ["g"])


def test_no_secret_leaves_whichever_check_met_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:hunter22")

    def tells() -> Finding:
        return broken("x", "refused admin:hunter22", "log in with hunter22 at\nhttp://me:secret@host/api")

    def raises() -> Finding:
        raise ValueError("postgresql+asyncpg://automat:p%40ss@db:5432/x and hunter22")

    told = "".join(f"{each.text} {each.remedy}" for each in only(Section("s", (Check("x", tells), Check("y", raises)))))
    assert "hunter22" not in told
    assert "secret" not in told
    assert "p%40ss" not in told
    assert "@host/api" in told
    assert "\n" not in told
