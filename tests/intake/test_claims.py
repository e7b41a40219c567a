"""Locks that end with their process, and markers that are written once."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from intake import claims
from intake.errors import ClaimedError, IntakeError

KEY = "0" * 64 + "-0"

HOLDER = """
import sys, time
from pathlib import Path
from intake import claims
with claims.{what}:
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def another_process(what: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds something."""
    script = HOLDER.format(what=what)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_claim_is_exclusive_and_ends_with_its_block(tmp_path: Path) -> None:
    assert not claims.held(tmp_path, KEY)
    with claims.claim(tmp_path, KEY):
        assert claims.held(tmp_path, KEY)
        with pytest.raises(ClaimedError, match=f"process {os.getpid()}"), claims.claim(tmp_path, KEY):
            pass
        with claims.claim(tmp_path, KEY[:-1] + "1"):  # another round is another thing
            pass
    assert not claims.held(tmp_path, KEY)
    assert not list((tmp_path / ".automat/claims").iterdir())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_claim_of_another_process_ends_when_it_dies_not_when_it_stalls(how: signal.Signals, tmp_path: Path) -> None:
    with another_process(f"claim(Path({str(tmp_path)!r}), {KEY!r})") as process:
        with pytest.raises(ClaimedError, match=f"process {process.pid} on "), claims.claim(tmp_path, KEY):
            pass
        process.send_signal(how)
        if how is signal.SIGKILL:
            process.wait()
        assert claims.held(tmp_path, KEY) == (how is signal.SIGSTOP)
    assert not claims.held(tmp_path, KEY)
    with claims.claim(tmp_path, KEY):
        pass


def test_whoever_looks_takes_nothing_away(tmp_path: Path) -> None:
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            claims.held(tmp_path, KEY)

    with ThreadPoolExecutor() as pool:
        looking = [pool.submit(look) for _ in range(2)]
        try:
            for _ in range(200):
                with claims.claim(tmp_path, KEY):
                    pass
        finally:
            stop.set()
    assert all(each.exception() is None for each in looking)


def test_of_many_claimants_one_at_a_time_gets_it(tmp_path: Path) -> None:
    inside: list[int] = []
    got = []

    def compete(number: int) -> None:
        for _ in range(20):
            try:
                with claims.claim(tmp_path, KEY):
                    inside.append(number)
                    assert inside == [number]
                    inside.clear()
                    got.append(number)
            except ClaimedError:
                pass

    with ThreadPoolExecutor() as pool:
        list(pool.map(compete, range(4)))
    assert got


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "0" * 64, KEY + "/x", KEY.replace("0", "g"), KEY + "\n"])
def test_a_key_is_a_digest_and_a_round(key: str, tmp_path: Path) -> None:
    for use in (claims.held, claims.finished):
        with pytest.raises(IntakeError, match="is no key"):
            use(tmp_path, key)
    with pytest.raises(IntakeError, match="is no key"):
        claims.finish(tmp_path, key, {})
    assert not list(tmp_path.iterdir())


def test_the_first_to_finish_stays_the_first(tmp_path: Path) -> None:
    assert claims.finished(tmp_path, KEY) is None
    with ThreadPoolExecutor() as pool:
        first = list(pool.map(lambda number: claims.finish(tmp_path, KEY, {"by": number}), range(8)))
    assert sum(first) == 1
    assert claims.finished(tmp_path, KEY) == {"by": first.index(True)}
    assert [each.name for each in (tmp_path / ".automat/finished").iterdir()] == [f"{KEY}.json"]


def test_without_hard_links_a_marker_is_renamed_into_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    assert claims.finish(tmp_path, KEY, {"by": 1})
    assert not claims.finish(tmp_path, KEY, {"by": 2})
    assert claims.finished(tmp_path, KEY) == {"by": 1}


def test_a_full_disk_leaves_no_marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(IntakeError, match="No space left on device; free space"):
            claims.finish(tmp_path, KEY, {})
    assert not list((tmp_path / ".automat/finished").iterdir())
    assert claims.finish(tmp_path, KEY, {})


def test_what_json_cannot_hold_is_no_marker(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        claims.finish(tmp_path, KEY, {"confidence": float("nan")})
    assert claims.finished(tmp_path, KEY) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_a_damaged_marker_is_told(content: bytes, tmp_path: Path) -> None:
    claims.finish(tmp_path, KEY, {})
    (tmp_path / ".automat/finished" / f"{KEY}.json").write_bytes(content)
    with pytest.raises(IntakeError, match="delete it, then 'automat retry'"):
        claims.finished(tmp_path, KEY)


def test_the_second_watcher_is_told_of_the_first(tmp_path: Path) -> None:
    with another_process(f"only_watcher(Path({str(tmp_path)!r}))") as process:
        with (
            pytest.raises(ClaimedError, match=f"another watcher writes here; end it first .process {process.pid} on "),
            claims.only_watcher(tmp_path),
        ):
            pass
        told = claims.watcher(tmp_path)
        assert told is not None
        assert told.startswith(f"process {process.pid} on ")
    assert claims.watcher(tmp_path) is None
    with claims.only_watcher(tmp_path):
        pass


def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(claims.fcntl, "flock", unsupported)
    with (
        pytest.raises(IntakeError, match="cannot lock files: choose an output folder on another"),
        claims.claim(tmp_path, KEY),
    ):
        pass


def test_a_marker_can_be_read_by_others(tmp_path: Path) -> None:
    claims.finish(tmp_path, KEY, {"formula": "α-In₂Se₃"})
    marker = tmp_path / ".automat/finished" / f"{KEY}.json"
    assert marker.stat().st_mode & 0o777 == 0o644
    assert json.loads(marker.read_text())["formula"] == "α-In₂Se₃"
