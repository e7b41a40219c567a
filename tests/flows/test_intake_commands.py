"""``automat status`` and ``automat retry``."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from lab import Lab, digest
from typer.testing import CliRunner, Result

from flows.cli import app
from intake.records import State

Automat = Callable[..., Result]


@pytest.fixture
def automat(monkeypatch: pytest.MonkeyPatch) -> Automat:
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A folder with something of everything: a is done, b failed, c waits, d is queued."""
    lab = Lab(tmp_path)
    lab.drop("night/a.tif", b"a")
    lab.look()
    lab.look()
    lab.work_all()
    lab.drop("b[red].tif", b"b")
    lab.look()
    lab.look()
    lab.work_all(status="failed", reason="b[red].tif: is truncated", confidence=0.0, formula=None)
    lab.drop("d\n\x1b[2J.tif", b"d")
    lab.look()
    lab.look()
    lab.runs.away = True
    lab.drop("c.tif", b"c")
    lab.look()
    lab.drop("e.tif", b"e")
    os.mkfifo(lab.root / "f.tif")
    lab.drop("notes.txt", b"x")
    (lab.root / os.fsdecode(b"\xff.tif")).write_bytes(b"g")
    lab.look()
    return lab


def one_line(result: Result) -> str:
    (line,) = result.stderr.strip().splitlines()
    assert result.exit_code == 1
    assert result.stdout == ""
    return str(line)


def test_the_table_tells_everything_with_the_newest_last(lab: Lab, automat: Automat) -> None:
    result = automat("status", lab.root)
    assert (result.exit_code, result.stderr) == (0, "")
    rows = {line.split("│")[1].strip(): line for line in result.stdout.splitlines() if ".tif" in line}
    odd, raw = r"d\n\x1b[2J.tif", r"\udcff.tif"
    assert list(rows)[:3] == ["night/a.tif", "b[red].tif", odd]
    for name, *told in (
        ("night/a.tif", "done", "accepted", "MoS2", "90 %", "1"),
        ("b[red].tif", "failed", "is truncated"),
        (odd, "queued", "1"),
        ("c.tif", "waiting", "0"),
        ("e.tif", "settling"),
        ("f.tif", "refused", "is a named pipe"),
        (raw, "refused", "its name is not UTF-8; rename it"),
    ):
        assert [each for each in told if each not in rows[name]] == []
    assert "\x1b" not in result.stdout
    for told in (
        "4 micrographs: 1 done (1 accepted), 1 failed, 1 queued, 1 waiting. "
        "Other files: 1 settling, 2 refused, 1 ignored",
        f"{lab.root}: looked into",
        "Note: the server does not answer; start it",
    ):
        assert told in result.stdout


def test_either_folder_may_be_given_or_none(lab: Lab, automat: Automat, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = [automat("status", folder).stdout for folder in (lab.root, lab.out)]
    for folder in (lab.root, lab.out):
        monkeypatch.chdir(folder)
        tables.append(automat("status").stdout)
    assert len(set(tables)) == 1


def test_json_is_one_document(lab: Lab, automat: Automat) -> None:
    told = json.loads(automat("status", lab.out, "--json").stdout)
    assert told["root"] == str(lab.root)
    assert told["totals"]["done"] == 1
    contents = {each["name"]: each for each in told["contents"]}
    assert contents["a.tif"]["sha256"] == digest(b"a")
    assert contents["d\n\x1b[2J.tif"]["state"] == "running"
    files = {each["path"]: each for each in told["files"]}
    assert (files["notes.txt"]["state"], files["\\udcff.tif"]["state"]) == ("ignored", "refused")
    failed = json.loads(automat("status", lab.out, "--json", "--failed").stdout)
    assert [each["name"] for each in failed["contents"]] == ["b[red].tif"]
    assert {each["state"] for each in failed["files"]} == {"refused"}


def test_only_what_failed_and_only_the_newest(lab: Lab, automat: Automat) -> None:
    failed = automat("status", lab.root, "--failed").stdout
    assert "b[red].tif" in failed
    assert "f.tif" in failed
    assert "a.tif" not in failed
    newest = automat("status", lab.root, "--last", 2).stdout
    assert "the newest 2 of 7 shown; --last 0 shows all" in newest
    assert "a.tif" not in newest


def test_a_folder_that_nobody_watches_is_told(tmp_path: Path, automat: Automat) -> None:
    told = one_line(automat("status", tmp_path))
    assert "has no ledger.sqlite" in told
    (tmp_path / "ledger.sqlite").write_bytes(b"not a ledger at all" * 50)
    assert "damaged or no ledger" in one_line(automat("status", tmp_path))


@pytest.mark.parametrize(
    "name",
    ["b[red].tif", "./b[red].tif", "ABSOLUTE", "DIGEST", "FOLDER"],
)
def test_what_failed_is_run_again_however_it_is_named(name: str, lab: Lab, automat: Automat) -> None:
    given = {
        "ABSOLUTE": str(lab.root / "b[red].tif"),
        "DIGEST": digest(b"b")[:6].upper(),
        "FOLDER": lab.contents()["b[red].tif"].folder,
    }.get(name, name)
    result = automat("retry", lab.root, given)
    assert (result.exit_code, result.stdout) == (0, "b[red].tif: waits for round 2\n")
    content = lab.contents()["b[red].tif"]
    assert (content.state, content.round, content.attempt) == (State.WAITING, 1, 0)
    lab.runs.away = False
    assert "b[red].tif" in lab.look().started
    lab.work_all()
    assert "b[red].tif" in lab.look().finished
    assert "1, round 2" in automat("status", lab.root).stdout


def test_a_copy_stands_for_its_content(lab: Lab, automat: Automat) -> None:
    lab.drop("copy.tif", b"b")
    lab.look()
    lab.look()
    assert automat("retry", lab.out, "copy.tif").stdout == "b[red].tif: waits for round 2\n"


def test_all_means_all_that_failed(lab: Lab, automat: Automat) -> None:
    assert automat("retry", lab.root, "--all").stdout == "b[red].tif: waits for round 2\n"
    result = automat("retry", lab.root, "--all")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "nothing has failed\n")


def test_a_done_one_is_run_again_if_it_is_named(lab: Lab, automat: Automat) -> None:
    assert automat("retry", lab.root, "a.tif").stdout == "night/a.tif: waits for round 2\n"


def test_a_file_that_is_gone_is_told(lab: Lab, automat: Automat) -> None:
    (lab.root / "b[red].tif").unlink()
    lab.look()
    assert "its file is gone, put it back" in automat("retry", lab.root, "b[red].tif").stdout


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("missing.tif", "automat: nothing is called missing.tif; 'automat status' lists what there is"),
        ("abcdef", "nothing is called abcdef"),
        (digest(b"b")[:5], "nothing is called"),
        ("c.tif", "c.tif is waiting already"),
        ("d\n\x1b[2J.tif", r"d\n\x1b[2J.tif is running already"),
        ("f.tif", "f.tif: was refused (is a named pipe, not a file); it is taken as soon as that is no longer so"),
        ("e.tif", "e.tif: is not complete yet"),
        ("notes.txt", "notes.txt: is ignored (no micrograph format (.txt))"),
    ],
)
def test_what_cannot_be_run_again_is_told_and_nothing_changes(name: str, told: str, lab: Lab, automat: Automat) -> None:
    assert told in one_line(automat("retry", lab.root, "b[red].tif", name))
    assert lab.contents()["b[red].tif"].state is State.FAILED


def test_retry_needs_to_know_which(lab: Lab, automat: Automat) -> None:
    for arguments in ((), ("a.tif", "--all")):
        result = automat("retry", lab.root, *arguments)
        assert result.exit_code == 2
        assert "or give --all" in result.stderr


def test_retry_beside_a_watcher(lab: Lab, automat: Automat) -> None:
    """Passes go on all the time; every retry is taken up once."""
    lab.runs.away = False
    errors = []

    def watch() -> None:
        try:
            for _ in range(30):
                lab.look(100)
                lab.work_all()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    asked = sum(automat("retry", lab.root, "a.tif").exit_code == 0 for _ in range(8))
    thread.join()
    lab.finish_everything()
    assert not errors
    assert asked >= 1
    assert lab.contents()["a.tif"].round == asked
    assert len([key for key in lab.completed if key.startswith(digest(b"a"))]) == asked + 1
