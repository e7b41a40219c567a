from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.doctor.drops import watched
from flows.doctor.finding import Finding
from intake.claims import only_watcher
from intake.folder import FileState, Seen
from intake.ledger import Ledger
from intake.records import Look, State

NOW = 1_800_000_000.0


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    folder = tmp_path / "drop"
    folder.mkdir()
    return folder


@pytest.fixture
def ledger(drop: Path) -> Iterator[Ledger]:
    with Ledger(drop.parent / "drop-results" / "ledger.sqlite") as ledger:
        yield ledger


def by_name(folder: Path) -> dict[str, Finding]:
    return {each.name: each for each in watched(folder, NOW)}


def put(ledger: Ledger, name: str, seen: float, digit: str, **changes: object) -> None:
    (content,) = ledger.record([Seen(name, 1, 1, seen, FileState.KNOWN, digit * 64, "")])
    if changes:
        ledger.update(content, **changes)


def test_a_folder_that_was_never_watched_is_broken(drop: Path) -> None:
    (found,) = watched(drop)
    assert found.state == "broken"
    assert "ledger.sqlite" in found.text
    assert "give the folder that is watched" in found.remedy


def test_a_damaged_ledger_is_broken_and_stays_as_it_is(drop: Path) -> None:
    path = drop.parent / "drop-results" / "ledger.sqlite"
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1000)
    (found,) = watched(drop)
    assert found.state == "broken"
    assert "damaged" in found.text
    assert path.read_bytes() == b"no database" * 1000


@pytest.mark.parametrize("given", ["drop", "drop-results"])
def test_a_quiet_folder_is_well_whichever_folder_is_given(given: str, drop: Path, ledger: Ledger) -> None:
    put(ledger, "a.tif", NOW - 9000, "a", state=State.DONE, status="accepted")
    ledger.passed(Look(str(drop), NOW - 20))
    found = by_name(drop.parent / given)
    assert {each.state for each in found.values()} == {"ok"}
    assert "1 done" in found["ledger"].text
    assert "20 s ago" in found["watcher"].text


def test_what_kept_the_latest_look_from_working_is_told(drop: Path, ledger: Ledger) -> None:
    ledger.passed(Look(str(drop), NOW, trouble=("the share is away",)))
    assert "the share is away" in by_name(drop)["ledger"].text
    ledger.passed(Look(str(drop), NOW, warnings=("others may write here",)))
    assert by_name(drop)["ledger"].state == "warning"


def test_a_watcher_that_is_gone_is_told_of_and_one_that_looks_is_not(drop: Path, ledger: Ledger) -> None:
    assert by_name(drop)["watcher"].state == "warning"
    ledger.passed(Look(str(drop), NOW - 7200))
    found = by_name(drop)["watcher"]
    assert found.state == "warning"
    assert "2 h ago" in found.text
    assert found.remedy == f"automat watch {drop}"
    with only_watcher(drop.parent / "drop-results"):
        assert by_name(drop)["watcher"].state == "ok"


def test_failures_and_what_waits_too_long_are_told_of(drop: Path, ledger: Ledger) -> None:
    put(ledger, "bad.tif", NOW - 100, "b", state=State.FAILED, reason="no pixel size")
    put(ledger, "old.tif", NOW - 4 * 3600, "c")
    put(ledger, "new.tif", NOW - 5, "d")
    put(ledger, "now.tif", NOW - 5, "e", state=State.RUNNING)
    found = by_name(drop)
    assert "1; the latest: bad.tif: no pixel size" in found["failed files"].text
    assert "automat retry" in found["failed files"].remedy
    assert found["waiting files"].state == "warning"
    assert "2, the first (old.tif) for 4 h; 1 being worked on" in found["waiting files"].text


def test_a_file_that_waits_a_little_is_well(drop: Path, ledger: Ledger) -> None:
    put(ledger, "new.tif", NOW - 5, "d")
    assert by_name(drop)["waiting files"].state == "ok"
