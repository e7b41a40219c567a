"""The ledger: what it keeps, what it refuses to be, and what a person is told."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from lab import digest

from intake import ledger as module
from intake.errors import LedgerError
from intake.folder import FileState, Seen
from intake.ledger import Ledger
from intake.records import Look, State

SEEN = Seen("a.tif", 3, 1_700_000_000_123_456_789, 5.0, FileState.KNOWN, digest(b"a"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out" / "ledger.sqlite"


@pytest.mark.parametrize(
    "name", ["a\nb.tif", "..\\..\\x.tif", "\x1b[2J.tif", "µ.tif", os.fsdecode(b"\xff\xfe.tif"), "'; --"]
)
def test_files_come_back_as_they_were_whatever_their_name(name: str, path: Path) -> None:
    seen = replace(SEEN, path=name, state=FileState.REFUSED, sha256=None, reason="why\nnot")
    with Ledger(path) as ledger:
        ledger.record([seen])
    with Ledger(path, readonly=True) as ledger:
        assert ledger.files() == {name: replace(seen, reason="why\\nnot")}
        assert ledger.counts()["refused"] == 1


def test_a_content_is_new_once(path: Path) -> None:
    with Ledger(path) as ledger:
        (content,) = ledger.record([SEEN])
        assert (content.state, content.name, content.seen_at) == (State.WAITING, "a.tif", 5.0)
        assert ledger.record([replace(SEEN, path="b/copy.tif")]) == []
        assert ledger.contents() == [content]
        assert ledger.places(SEEN.sha256 or "") == ["a.tif", "b/copy.tif"]
        ledger.record([replace(SEEN, state=FileState.GONE)])
        assert ledger.places(SEEN.sha256 or "") == ["b/copy.tif"]
        assert list(ledger.files()) == ["b/copy.tif"]
        assert sorted(ledger.files(gone=True)) == ["a.tif", "b/copy.tif"]


def test_who_comes_too_late_changes_nothing(path: Path) -> None:
    with Ledger(path) as ledger:
        (content,) = ledger.record([SEEN])
        assert ledger.update(content, state=State.RUNNING, options={"dose": 1.0})
        assert not ledger.update(content, state=State.FAILED)
        (running,) = ledger.contents(State.RUNNING)
        assert running.options == {"dose": 1.0}
        assert ledger.contents(State.WAITING) == []


def test_all_of_a_transaction_or_nothing(path: Path) -> None:
    with Ledger(path) as ledger:
        (content,) = ledger.record([SEEN])

        def half() -> None:
            with ledger.transaction():
                ledger.update(content, state=State.RUNNING)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            half()
        assert ledger.contents() == [content]


def test_the_latest_look_is_kept(path: Path) -> None:
    with Ledger(path) as ledger:
        assert ledger.look() is None
        ledger.passed(Look("/a", 1.0, ("x",), ()))
        ledger.passed(Look("/a", 2.0, (), ("y",)))
        assert ledger.look() == Look("/a", 2.0, (), ("y",))


def test_an_impossible_row_is_refused(path: Path) -> None:
    with Ledger(path) as ledger, pytest.raises(LedgerError):
        ledger.record([replace(SEEN, sha256=None)])


def test_reading_makes_nothing(path: Path) -> None:
    with pytest.raises(LedgerError, match="there is none"):
        Ledger(path, readonly=True)
    assert not path.parent.exists()


def test_reading_changes_nothing(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.record([SEEN])
    before = path.read_bytes()
    with Ledger(path, readonly=True) as ledger:
        with pytest.raises(LedgerError, match="readonly"):
            ledger.passed(Look("/a", 1.0))
        assert ledger.counts()["known"] == 1
    assert path.read_bytes() == before


def other_tables(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE measurements (x)")
    db.close()


def later_version(path: Path) -> None:
    Ledger(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()


def cut_off(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.record([replace(SEEN, path=f"{number}.tif") for number in range(500)])
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("readonly", [True, False])
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (other_tables, "not a ledger of AutoMat; move it away, or choose another output folder"),
        (later_version, "of version 99, this program reads 1"),
        (
            lambda path: path.write_bytes(b"Mo,S\n" * 999),
            "damaged or no ledger .* move it away and start the watcher again",
        ),
        (cut_off, "damaged or no ledger .* move it away and start the watcher again"),
        (lambda path: path.mkdir(), "unable to open"),
    ],
)
def test_a_foreign_or_damaged_ledger_is_told_and_left_alone(
    spoil: object, told: str, readonly: bool, path: Path
) -> None:
    path.parent.mkdir()
    spoil(path)  # type: ignore[operator]
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(LedgerError, match=told), Ledger(path, readonly=readonly) as ledger:
        ledger.files()
    assert before is None or path.read_bytes() == before


def test_a_ledger_in_use_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY", 0.05)
    with Ledger(path) as one, Ledger(path) as two, one.transaction():
        with pytest.raises(LedgerError, match="locked; another program has it open"):
            two.passed(Look("/a", 1.0))
        with Ledger(path, readonly=True) as three:
            assert three.look() is None


def test_some_may_make_the_ledger_at_once(path: Path) -> None:
    errors = []

    def make(place: Path) -> None:
        try:
            Ledger(place).close()
        except LedgerError as error:
            errors.append(error)

    for turn in range(30):
        place = path.with_name(f"{turn}.sqlite")
        threads = [threading.Thread(target=make, args=(place,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors
    with Ledger(place) as ledger:
        assert ledger.counts()["waiting"] == 0


KILLED = """
import os, signal, sys
from pathlib import Path
from intake.folder import FileState, Seen
from intake.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
ledger._db.execute("PRAGMA cache_size = 1")  # so that pages reach the file before the commit
with ledger.transaction():
    ledger._db.execute("UPDATE files SET reason = 'half'")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_half_done_is_undone_by_whoever_reads_next(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.record([replace(SEEN, path=f"{number:0200}.tif") for number in range(500)])
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.with_name("ledger.sqlite-journal").stat().st_size
    assert b"half" in path.read_bytes()
    with Ledger(path, readonly=True) as ledger:
        assert {seen.reason for seen in ledger.files().values()} == {""}
