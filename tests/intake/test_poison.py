"""What somebody may put into a folder, by mistake or not: refused or waited for, and never in the way of the others."""

from __future__ import annotations

import os
import socket
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from lab import Lab, digest

from intake import folder, opening, walking
from intake.opening import stable_digest
from microscopy.readers import digest as digest_of

DEEP = 1100
"""Folders within one another: more than Python's limit of recursion."""


@pytest.fixture
def queue(lab: Lab) -> Iterator[Lab]:
    """A folder with one good file, which has to get through whatever else is in the folder."""
    lab.drop("good.tif", b"good")
    (lab.root.parent / "elsewhere").mkdir()
    (lab.root.parent / "elsewhere/secret.tif").write_bytes(b"secret")
    before = set(lab.root.parent.iterdir())
    yield lab
    lab.look()
    lab.look()
    lab.work_all()
    lab.look()
    assert "good.tif" in lab.contents()
    assert lab.contents()["good.tif"].state == "done"
    assert set(lab.root.parent.iterdir()) <= before | {lab.out}
    assert {each.name for each in lab.out.iterdir()} <= {"ledger.sqlite", "ledger.sqlite-journal", ".automat"}


def state(lab: Lab, name: str) -> tuple[str, str]:
    lab.look()
    lab.look()
    return lab.files()[name]


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/cwd/{path.name}")


def sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.write(b"II*\x00")
        stream.truncate((4 << 30) + 1)


def by_a_folder(path: Path) -> None:
    (path.parent / "way").symlink_to("../elsewhere")
    path.symlink_to("way/secret.tif")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (pipe, "is a named pipe"),
        (listening, "is a socket"),
        (lambda path: path.symlink_to("/dev/zero"), "leads out of the watched folder"),
        (lambda path: path.symlink_to("/etc/passwd"), "leads out of the watched folder"),
        (lambda path: path.symlink_to("../elsewhere/secret.tif"), "leads out of the watched folder"),
        (by_a_folder, "leads out of the watched folder"),
        (lambda path: path.symlink_to(path), "cannot be followed"),
        (lambda path: path.symlink_to("missing.tif"), "leads nowhere"),
        (lambda path: path.symlink_to("good.tif/x"), "cannot be followed"),
        (sparse, "4 GiB; at most 4 GiB are read"),
        (lambda path: path.write_bytes(b""), "is empty"),
    ],
)
def test_what_is_no_file_is_refused_without_being_read(
    make: object, told: str, queue: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(queue.root)
    read = []
    monkeypatch.setattr(folder, "stable_digest", lambda parts: read.extend(parts) or stable_digest(parts))
    make(queue.root / "bad.tif")  # type: ignore[operator]
    found, reason = state(queue, "bad.tif")
    assert (found, told in reason) == ("refused", True), reason
    assert read == [queue.root / "good.tif"]
    (queue.root / "bad.tif").unlink()  # and once a file is in its place, it is taken
    queue.drop("bad.tif", b"better")
    assert state(queue, "bad.tif") == ("known", "")


def test_a_device_is_refused(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "zero", 0o20666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root makes devices")
    assert opening.kind((tmp_path / "zero").lstat().st_mode) == "a device"


def test_a_link_within_the_folder_is_a_file_and_one_to_a_folder_is_not(queue: Lab) -> None:
    queue.drop("sub/a.tif", b"a")
    (queue.root / "link.tif").symlink_to("sub/a.tif")
    (queue.root / "again").symlink_to(".")
    assert state(queue, "link.tif") == ("known", "")
    assert queue.files()["again"] == ("ignored", "a link to a folder")
    assert len(queue.contents()) == 2


@pytest.mark.parametrize(
    "name",
    [
        "a\nb.tif",
        "a..\\..\\x.tif",
        "\x1b[2J.tif",
        "[red]x.tif",
        "-rf.tif",
        "x" * 251 + ".tif",
        "a;b$(c)`d`.tif",
        "а\u202e.tif",
    ],
)
def test_a_name_is_only_a_name(name: str, queue: Lab) -> None:
    queue.drop(name, b"odd")
    assert state(queue, name) == ("known", "")
    assert queue.contents()[name].path == name


@pytest.mark.parametrize("name", [b"\xff.tif", b"a\xc3.tif", b"\xff"])
def test_a_name_that_is_no_text_is_refused(name: bytes, queue: Lab) -> None:
    raw = os.fsencode(queue.root) + b"/" + name
    if name.endswith(b"tif"):
        Path(os.fsdecode(raw)).write_bytes(b"x")
    else:
        Path(os.fsdecode(raw)).mkdir()
        (Path(os.fsdecode(raw)) / "inside.tif").write_bytes(b"x")
    assert state(queue, os.fsdecode(name)) == ("refused", "its name is not UTF-8; rename it")
    assert len(queue.contents()) == 1


def test_a_folder_may_be_called_like_a_file(queue: Lab) -> None:
    queue.drop("x.tif/y.tif", b"y")
    assert state(queue, "x.tif/y.tif") == ("known", "")


@pytest.fixture
def deep(lab: Lab) -> Iterator[Path]:
    """The innermost of DEEP folders, taken away again: pytest cannot remove such a tree, and stops on the next run."""
    folder = lab.root
    for _ in range(DEEP):
        folder = folder / "d"
        folder.mkdir()
    yield folder
    for file in folder.iterdir():
        file.unlink()
    os.removedirs(folder)


def test_folders_may_be_deep(deep: Path, queue: Lab) -> None:
    (deep / "y.tif").write_bytes(b"y")
    assert state(queue, "d/" * DEEP + "y.tif") == ("known", "")


def test_what_is_not_meant_for_us_is_skipped_and_what_cannot_be_read_is_listed(queue: Lab) -> None:
    for name in (
        ".hidden.tif",
        ".cache/a.tif",
        "a.tif~",
        "b.tif.part",
        "c.tif.TMP",
        "d.tif.crdownload",
        "@eaDir/t.jpg",
    ):
        queue.drop(name, name.encode())
    for name in ("notes.txt", "Thumbs.db", "README"):
        queue.drop(name, name.encode())
    queue.drop("earlier/result.json", b"{}")
    queue.drop("earlier/overlay.png", b"x")
    queue.look()
    queue.look()
    assert queue.files() == {
        "good.tif": ("known", ""),
        "notes.txt": ("ignored", "no micrograph format (.txt)"),
        "Thumbs.db": ("ignored", "no micrograph format (.db)"),
        "README": ("ignored", "no micrograph format (no suffix)"),
        "earlier/": ("ignored", "results of an earlier run (it has a result.json)"),
    }


def test_results_within_the_folder_are_skipped(lab: Lab) -> None:
    lab.out = lab.root / "results"
    lab.drop("a.tif", b"a")
    lab.drop("results/a-12345678/overlay.png", b"picture")
    lab.finish_everything()
    assert list(lab.files()) == ["a.tif"]


def test_an_unreadable_file_waits_until_it_can_be_read(queue: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.drop("bad.tif", b"bad")

    def refused(path: Path) -> object:
        if path.name == "bad.tif":
            raise PermissionError(13, "Permission denied")
        return open_regular(path)

    open_regular = opening.open_regular
    with monkeypatch.context() as patch:
        patch.setattr(opening, "open_regular", refused)
        assert state(queue, "bad.tif") == (
            "settling",
            "permission denied; make the file readable, it is tried again",
        )
    queue.look()
    assert queue.files()["bad.tif"] == ("known", "")


def test_an_unreadable_folder_keeps_what_is_known_of_it(queue: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.drop("sub/a.tif", b"a")
    queue.drop("sub/deep/b.tif", b"b")
    assert state(queue, "sub/a.tif") == ("known", "")
    scandir = os.scandir

    def stale(path: Path) -> object:
        if Path(path).name == "sub":
            raise OSError(116, "Stale file handle")
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(walking.os, "scandir", stale)
        queue.look()
        assert queue.files()["sub/"] == ("refused", "the folder cannot be read (Stale file handle)")
        assert queue.files()["sub/a.tif"] == queue.files()["sub/deep/b.tif"] == ("known", "")
    queue.look()
    assert queue.files()["sub/"] == ("gone", "")


@pytest.mark.parametrize("errno", [5, 116, 2])
def test_a_folder_that_cannot_be_listed_loses_nothing(errno: int, queue: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.look()

    def failing(_: object) -> None:
        raise OSError(errno, os.strerror(errno))

    with monkeypatch.context() as patch:
        patch.setattr(walking.os, "scandir", failing)
        (trouble,) = queue.look().trouble
    assert os.strerror(errno) in trouble
    assert queue.files()["good.tif"][0] == "settling"


def interfering(monkeypatch: pytest.MonkeyPatch, name: str, interfere: object) -> None:
    """Do something while a file is read."""
    fstat = os.fstat
    met = []

    def slow(descriptor: int) -> os.stat_result:
        here = str(Path(f"/proc/self/fd/{descriptor}").readlink()).endswith(name)
        met.extend([1] * here)
        if here and len(met) == 2:  # open_regular, before reading
            interfere()  # type: ignore[operator]
        return fstat(descriptor)

    monkeypatch.setattr(opening.os, "fstat", slow)


def test_a_file_that_vanishes_while_it_is_read(queue: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    path = queue.drop("bad.tif", b"bad")
    with monkeypatch.context() as patch:
        interfering(patch, "bad.tif", path.unlink)
        queue.look()
        queue.look()
    queue.look()
    assert queue.files()["bad.tif"][0] == "gone"
    assert len(queue.contents()) == 1


def test_a_file_that_is_replaced_while_it_is_read_is_read_again(queue: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    path = queue.drop("bad.tif", b"bad")

    def replace_it() -> None:
        queue.drop("new", b"new").replace(path)
        os.utime(path, (queue.now, queue.now))

    with monkeypatch.context() as patch:
        interfering(patch, "bad.tif", replace_it)
        queue.look()
        queue.look()
    assert queue.files()["bad.tif"] == ("settling", "changed while it was read; it is tried again")
    assert state(queue, "bad.tif") == ("known", "")
    assert queue.contents()["bad.tif"].sha256 == digest(b"new")


def test_a_file_that_grows_while_it_is_read_is_read_again(queue: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    path = queue.drop("bad.tif", b"bad")
    with monkeypatch.context() as patch:
        interfering(patch, "bad.tif", lambda: path.write_bytes(b"bad and more"))
        queue.look()
        queue.look()
    assert queue.files()["bad.tif"][0] == "settling"
    queue.look()
    assert state(queue, "bad.tif") == ("known", "")


def test_a_file_turned_into_a_link_before_it_is_opened_is_not_followed(
    queue: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = queue.drop("bad.tif", b"bad")
    queue.look()

    def swapped(parts: tuple[Path, ...]) -> str | None:
        if path in parts:
            path.unlink()
            path.symlink_to("/etc/passwd")
        return stable_digest(parts)

    with monkeypatch.context() as patch:
        patch.setattr(folder, "stable_digest", swapped)
        queue.look()
    assert "bad.tif" not in queue.contents()
    queue.look()
    assert queue.files()["bad.tif"][0] == "refused"


def test_a_larger_limit_lets_a_refused_file_in(queue: Lab) -> None:
    queue.settings = replace(queue.settings, max_bytes=5)
    queue.drop("big.tif", b"123456")
    queue.settings = replace(queue.settings, max_bytes=8192)
    queue.drop("big.tif", b"1" * 9000)
    assert state(queue, "big.tif")[0] == "refused"
    queue.settings = replace(queue.settings, max_bytes=1 << 20)
    assert state(queue, "big.tif")[0] == "known"


def test_memory_does_not_grow_with_the_file(queue: Lab) -> None:
    with (queue.root / "large.tif").open("wb") as stream:
        stream.truncate(64 << 20)
    queue.look()
    tracemalloc.start()
    try:
        queue.look()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert queue.files()["large.tif"][0] == "known"
    assert peak < 4 << 20


def test_a_header_and_its_pixels_are_one_image(lab: Lab) -> None:
    header = lab.drop("scan.emi", b"header")
    lab.drop("scan_1.ser", b"first")
    lab.drop("other_1.ser", b"alone")
    lab.look()
    lab.drop("scan_2.ser", b"second", age=0)
    lab.look()
    assert lab.files()["scan.emi"][0] == "settling"  # another part has come
    lab.look()
    assert lab.files()["scan_1.ser"] == lab.files()["scan_2.ser"] == ("ignored", "read together with its .emi file")
    assert set(lab.contents()) == {"scan.emi", "other_1.ser"}
    assert lab.contents()["scan.emi"].sha256 == digest_of(header) == digest(b"headerfirstsecond")
