from __future__ import annotations

import fcntl
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from web_site import Site

from microscopy.errors import PotentialError
from models.potentials import download as module
from models.potentials.download import Limits, UnreachableError, download

LIMITS = Limits(connect=5.0, stall=5.0, total=60.0, back_off=0.0)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were to be slept."""
    found: list[float] = []
    monkeypatch.setattr(module.time, "sleep", found.append)
    return found


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new" / "weights.pth"


def get(site: Site, target: Path, resume: bool = True, limits: Limits = LIMITS, **given: Any) -> None:
    download(given.pop("url", site.url()), target, given.pop("accept", lambda path: None), resume=resume, limits=limits)


def part(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def nothing_but(folder: Path, *names: str) -> bool:
    return sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_a_file_comes_with_progress(site: Site, target: Path) -> None:
    told: list[tuple[int, int | None]] = []
    download(
        site.url(), target, lambda path: None, resume=True, limits=LIMITS, progress=lambda *each: told.append(each)
    )
    assert target.read_bytes() == site.content
    assert nothing_but(target.parent, target.name)
    assert told[-1] == (len(site.content), len(site.content))
    assert len(told) > 1


def test_a_cut_connection_is_resumed(site: Site, target: Path) -> None:
    site.script = [site.cut(100_000), site.cut(300_000)]
    get(site, target)
    assert target.read_bytes() == site.content
    assert site.ranges == [None, "bytes=100000-", "bytes=300000-"]


def test_a_later_call_goes_on_where_an_earlier_one_stopped(site: Site, target: Path) -> None:
    site.script = [site.cut(200_000)]
    with pytest.raises(UnreachableError, match="given up after 1 tries"):
        get(site, target, limits=replace(LIMITS, attempts=1))
    assert not target.exists()
    assert part(target).read_bytes() == site.content[:200_000]
    get(site, target)
    assert target.read_bytes() == site.content
    assert site.ranges == [None, "bytes=200000-"]


def test_a_server_without_ranges_is_asked_for_all(site: Site, target: Path) -> None:
    site.script = [site.cut(100_000), site.whole]
    get(site, target)
    assert target.read_bytes() == site.content


def test_a_whole_partial_file_needs_no_more(site: Site, target: Path) -> None:
    part(target).parent.mkdir()
    part(target).write_bytes(site.content)
    get(site, target)
    assert target.read_bytes() == site.content


def test_unknown_content_is_not_resumed_and_leaves_nothing(site: Site, target: Path) -> None:
    site.script = [site.cut(100_000), site.cut(200_000)]
    with pytest.raises(UnreachableError):
        get(site, target, resume=False, limits=replace(LIMITS, attempts=2))
    assert site.ranges == [None, None]
    assert nothing_but(target.parent)


def test_refused_content_leaves_nothing(site: Site, target: Path) -> None:
    def accept(path: Path) -> None:
        assert path.read_bytes() == site.content
        raise PotentialError("not that one")

    with pytest.raises(PotentialError, match="not that one"):
        get(site, target, accept=accept)
    assert nothing_but(target.parent)


def test_a_silent_server_is_given_up(site: Site, target: Path) -> None:
    site.script = [site.stall(1000)]
    with pytest.raises(UnreachableError, match="does not answer"):
        get(site, target, limits=replace(LIMITS, stall=0.2, attempts=1))
    assert part(target).read_bytes() == site.content[:1000]


def test_the_whole_transfer_has_a_deadline(site: Site, target: Path) -> None:
    with pytest.raises(UnreachableError, match="not complete after 0 s"):
        get(site, target, limits=replace(LIMITS, total=0.0))


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final(status: int, site: Site, target: Path) -> None:
    site.script = [site.say(status)]
    with pytest.raises(PotentialError, match=f"the server says {status}"):
        get(site, target)
    assert len(site.ranges) == 1
    assert nothing_but(target.parent)


def test_a_busy_server_is_asked_again_when_it_says(site: Site, target: Path, waits: list[float]) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    site.script = [site.say(429, Retry_After="7"), site.say(503, Retry_After=later), site.say(500, Retry_After="soon")]
    get(site, target, limits=replace(LIMITS, back_off=1.0))
    assert target.read_bytes() == site.content
    assert waits[0] == 7
    assert 25 < waits[1] <= 30
    assert waits[2] == 4


def test_a_long_wait_is_left_to_the_user(site: Site, target: Path, waits: list[float]) -> None:
    site.script = [site.say(429, Retry_After="5000")]
    with pytest.raises(UnreachableError, match="asks to wait 5000 s"):
        get(site, target)
    assert waits == []


def test_redirects_are_followed_but_not_in_a_circle(site: Site, target: Path) -> None:
    site.script = [site.say(302, Location=site.url("elsewhere"))]
    get(site, target)
    assert target.read_bytes() == site.content

    site.script = [site.say(302, Location=site.url())] * 40
    with pytest.raises(PotentialError, match="redirects"):
        get(site, target.with_name("other"))


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/weights.pth", "http://host.invalid/weights.pth"])
def test_no_network_is_said_after_some_tries(url: str, site: Site, target: Path, waits: list[float]) -> None:
    with pytest.raises(UnreachableError, match="given up after 4 tries") as caught:
        get(site, target, url=url, limits=replace(LIMITS, back_off=1.0))
    assert "\n" not in str(caught.value)
    assert waits == [1, 2, 4]
    assert nothing_but(target.parent)


def test_too_large_is_refused_before_and_while_it_comes(site: Site, target: Path) -> None:
    with pytest.raises(PotentialError, match="larger than"):
        get(site, target, limits=replace(LIMITS, size=1000))

    def endless(request: Any) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(site.content)

    site.script = [endless]
    with pytest.raises(PotentialError, match="larger than"):
        get(site, target, limits=replace(LIMITS, size=1000))


def test_a_full_disk_is_refused(site: Site, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(PotentialError, match="are needed"):
        get(site, target)
    assert nothing_but(target.parent)


def test_a_folder_that_cannot_be_written_is_said(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PotentialError, match="cannot write"):
        get(site, tmp_path / "file" / "weights.pth")


def test_two_processes_do_not_write_one_file(site: Site, target: Path) -> None:
    target.parent.mkdir()
    with part(target).open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(PotentialError, match="another process"):
            get(site, target)
    get(site, target)
    assert target.read_bytes() == site.content
