"""One pass after the other: what is there, what runs, what ended, what was lost."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from lab import Lab, digest

from intake import claims, folder
from intake.errors import ClaimedError, IntakeError, LedgerError
from intake.ledger import Ledger
from intake.passing import Job, RunState, one_pass
from intake.places import LEDGER
from intake.records import State


def test_a_file_goes_all_the_way(lab: Lab) -> None:
    lab.drop("night/a.tif", b"a")
    assert lab.look().counts["settling"] == 1
    told = lab.look()
    assert (told.new, told.started) == (["a.tif"], ["a.tif"])
    (run,) = lab.runs.all()
    assert lab.runs.job(run)["path"] == str(lab.root / "night/a.tif")
    assert lab.work(run)
    told = lab.look()
    assert told.finished == ["a.tif"]
    content = lab.contents()["a.tif"]
    assert (content.state, content.status, content.confidence, content.formula) == ("done", "accepted", 0.9, "MoS2")
    assert (content.path, content.sha256, content.seconds) == ("night/a.tif", digest(b"a"), 1.5)
    assert content.seen_at <= content.started_at < content.finished_at
    assert lab.look().counts == told.counts
    assert len(lab.runs.all()) == 1


def test_a_file_that_grows_waits_until_it_is_complete(lab: Lab) -> None:
    path = lab.drop("a.tif", b"1")
    for size in range(2, 6):
        assert not lab.look().new
        path.write_bytes(b"1" * size)
        os.utime(path, (lab.now, lab.now))
    lab.look()
    assert not lab.look(4.9).new
    assert lab.look(0.2).new == ["a.tif"]
    assert lab.contents()["a.tif"].sha256 == digest(b"11111")


def test_a_file_that_is_written_over_at_the_same_size_waits_too(lab: Lab) -> None:
    path = lab.drop("a.tif", b"1")
    lab.look()
    path.write_bytes(b"2")
    os.utime(path, (lab.now, lab.now))
    assert not lab.look().new
    assert lab.look().new
    assert lab.contents()["a.tif"].sha256 == digest(b"2")


def test_copies_and_renames_are_one_content(lab: Lab) -> None:
    path = lab.drop("a.tif", b"a")
    lab.look()
    lab.look()
    lab.work_all()
    lab.look()
    shutil.copy2(path, lab.root / "copy.tif")
    path.rename(lab.root / "renamed.tif")
    os.link(lab.root / "renamed.tif", lab.root / "hard.tif")
    for _ in range(3):
        told = lab.look()
    assert (told.counts["done"], told.counts["known"], told.counts["gone"]) == (1, 3, 1)
    assert len(lab.runs.all()) == 1
    assert lab.files()["a.tif"] == ("gone", "")


def test_a_file_renamed_while_it_waits_is_found_again(lab: Lab) -> None:
    lab.settings = replace(lab.settings, in_flight=0)
    path = lab.drop("a.tif", b"a")
    lab.look()
    lab.look()
    lab.settings = replace(lab.settings, in_flight=1)
    path.rename(lab.root / "b.tif")
    told = lab.look()
    assert not told.started
    assert "gone" in lab.contents()["a.tif"].reason
    assert lab.look().started == ["b.tif"]
    content = lab.contents()["b.tif"]
    assert (content.path, content.reason) == ("b.tif", "")


def test_a_new_content_under_an_old_name_is_a_new_content(lab: Lab) -> None:
    lab.drop("a.tif", b"a")
    lab.finish_everything()
    lab.drop("a.tif", b"b", age=0)
    lab.finish_everything()
    assert len(lab.completed) == 2
    with lab.ledger() as ledger:
        assert {content.sha256 for content in ledger.contents(State.DONE)} == {digest(b"a"), digest(b"b")}


def test_the_oldest_go_first_and_only_so_many_at_once(lab: Lab) -> None:
    lab.settings = replace(lab.settings, in_flight=2)
    for name in "cab":
        lab.drop(f"{name}.tif", name.encode())
        lab.look()
    lab.look()
    lab.drop("d.tif", b"d")
    assert list(lab.contents(State.RUNNING)) == ["c.tif", "a.tif"]
    lab.work(lab.contents()["c.tif"].run_id or "")
    assert lab.look().started == ["b.tif"]


def test_a_failure_has_its_reason(lab: Lab) -> None:
    lab.drop("a.tif")
    lab.look()
    lab.look()
    lab.work_all(status="failed", reason="a.tif: is truncated\x1b[31m", confidence=0.0, formula=None)
    assert lab.look().failed == ["a.tif"]
    content = lab.contents()["a.tif"]
    assert (content.state, content.reason) == (State.FAILED, "a.tif: is truncated\\x1b[31m")


def running(lab: Lab) -> str:
    lab.drop("a.tif")
    lab.look()
    lab.look()
    return lab.contents()["a.tif"].run_id or ""


def test_a_crashed_run_is_tried_again_after_a_while(lab: Lab) -> None:
    first = running(lab)
    lab.runs.put(first, RunState.CRASHED)
    assert lab.look(1).lost == ["a.tif"]
    assert not lab.look(1).started
    assert lab.look(10).started == ["a.tif"]
    second = lab.contents()["a.tif"].run_id
    assert second not in (None, first)
    assert lab.contents()["a.tif"].attempt == 1


def test_five_lost_runs_are_enough(lab: Lab) -> None:
    running(lab)
    for _ in range(20):
        for run in lab.runs.open():
            lab.runs.put(run, RunState.CRASHED)
        lab.look(100)
    content = lab.contents()["a.tif"]
    assert (content.state, content.attempt, len(lab.runs.all())) == (State.FAILED, 4, 5)
    assert "its worker died 5 times" in content.reason
    assert "automat retry" in content.reason


def test_a_cancelled_run_is_not_begun_again_unasked(lab: Lab) -> None:
    lab.runs.put(running(lab), RunState.CANCELLED)
    assert lab.look(1).failed == ["a.tif"]
    content = lab.contents()["a.tif"]
    assert content.status == "cancelled"
    assert "automat retry" in content.reason
    lab.look(1000)
    assert len(lab.runs.all()) == 1
    with lab.ledger() as ledger:
        ledger.retry([content])
    lab.look(10)
    assert len(lab.runs.all()) == 2
    assert lab.contents()["a.tif"].state is State.RUNNING


def test_a_run_that_nobody_takes_waits_for_ever(lab: Lab) -> None:
    running(lab)
    for _ in range(20):
        assert not lab.look(3600).lost
    assert len(lab.runs.all()) == 1


@pytest.mark.parametrize(
    ("state", "patience"), [(RunState.PENDING, 120), (RunState.RUNNING, 20), (RunState.FINISHED, 20)]
)
def test_a_run_that_stays_as_it_is_gets_lost(state: RunState, patience: float, lab: Lab) -> None:
    lab.runs.put(running(lab), state)
    assert not lab.look(1).lost  # seen in this state for the first time
    assert not lab.look(patience - 1).lost
    assert lab.look(1).lost == ["a.tif"]


def test_a_run_that_the_server_forgot_is_lost(lab: Lab) -> None:
    (lab.runs.folder / running(lab)).unlink()
    assert lab.look().lost == ["a.tif"]


def test_whoever_has_the_claim_is_at_work_whatever_the_server_says(lab: Lab) -> None:
    run = running(lab)
    key = lab.contents()["a.tif"].key
    with claims.claim(lab.out, key):
        for state in RunState:
            lab.runs.put(run, state)
            assert not lab.look(1000).lost
    lab.runs.put(run, RunState.RUNNING)
    assert not lab.look().lost
    assert lab.look(20).lost


def test_a_marker_counts_before_anything_else(lab: Lab) -> None:
    run = running(lab)
    lab.work(run)
    lab.runs.put(run, RunState.CRASHED)  # died after its work was done
    assert lab.look().finished == ["a.tif"]


def test_a_late_twin_changes_nothing(lab: Lab) -> None:
    first = running(lab)
    lab.runs.put(first, RunState.PENDING)
    lab.look()
    lab.look(200)
    lab.look()
    second = lab.contents()["a.tif"].run_id or ""
    assert lab.work(second)
    lab.look()
    assert not lab.work(first, formula="WS2")
    lab.look()
    assert lab.contents()["a.tif"].formula == "MoS2"


def test_a_server_that_is_away_costs_nothing(lab: Lab) -> None:
    running(lab)
    lab.drop("b.tif", b"b")
    lab.drop("c.tif", b"c")
    lab.runs.away = True
    for _ in range(10):
        told = lab.look(100)
        assert not told.lost
        assert not told.started
    assert len(told.trouble) == 2
    assert all("does not answer" in sentence for sentence in told.trouble)
    with lab.ledger() as ledger:
        look = ledger.look()
    assert look is not None
    assert look.trouble == tuple(told.trouble)
    lab.runs.away = False
    told = lab.look(100)
    assert (told.started, told.trouble) == (["b.tif", "c.tif"], [])


def test_a_marker_is_believed_while_the_server_is_away(lab: Lab) -> None:
    lab.work(running(lab))
    lab.runs.away = True
    assert lab.look().finished == ["a.tif"]


def test_a_job_that_cannot_be_handed_over_keeps_nobody_waiting(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.drop("a.tif", b"a")
    lab.drop("b.tif", b"b")
    submit = lab.runs.submit

    def picky(job: Job) -> str:
        if job.name == "a.tif":
            raise ValueError("parameters\ntoo large")
        return submit(job)

    monkeypatch.setattr(lab.runs, "submit", picky)
    lab.look()
    told = lab.look()
    assert (told.started, told.lost) == (["b.tif"], ["a.tif"])
    for _ in range(6):
        lab.look(1000)
    content = lab.contents()["a.tif"]
    assert content.state is State.FAILED
    assert "cannot be handed over: parameters too large" in content.reason


def test_sidecars_reach_the_job_and_a_wrong_one_fails_its_file_only(lab: Lab) -> None:
    lab.drop("a.tif", b"a")
    lab.drop("a.json", b'{"dose": 1e4, "Stage": {}}')
    lab.drop("b.tif", b"b")
    lab.drop("b.toml", b"dose = -1")
    lab.look()
    told = lab.look()
    assert (told.started, told.failed) == (["a.tif"], ["b.tif"])
    (run,) = lab.runs.all()
    assert lab.runs.job(run)["options"] == lab.contents()["a.tif"].options == {"dose": 1e4}
    assert "b.toml: dose = -1: must be a positive number" in lab.contents()["b.tif"].reason
    assert lab.files()["a.json"] == ("ignored", "metadata, read together with its micrograph")


def test_a_sidecar_that_is_being_written_is_waited_for(lab: Lab) -> None:
    lab.drop("a.tif")
    lab.look()
    sidecar = lab.drop("a.json", b'{"dose"')
    os.utime(sidecar, (lab.now + 9, lab.now + 9))
    assert not lab.look().failed
    sidecar.write_bytes(b'{"dose": 5}')
    os.utime(sidecar, (lab.now, lab.now))
    assert lab.look().started == ["a.tif"]


def test_a_damaged_marker_fails_its_content_only(lab: Lab) -> None:
    run = running(lab)
    marker = lab.out / ".automat/finished" / f"{lab.contents()['a.tif'].key}.json"
    marker.parent.mkdir(parents=True)
    marker.write_bytes(b"\x00" * 40)
    lab.runs.put(run, RunState.FINISHED)
    assert lab.look().failed == ["a.tif"]
    assert "is damaged" in lab.contents()["a.tif"].reason


def test_a_lost_ledger_costs_no_computation(lab: Lab) -> None:
    for name in "abc":
        lab.drop(f"{name}.tif", name.encode())
    lab.finish_everything()
    runs = lab.runs.all()
    (lab.out / "ledger.sqlite").unlink()
    lab.look()
    told = lab.look()
    assert sorted(told.finished) == ["a.tif", "b.tif", "c.tif"]
    assert lab.runs.all() == runs
    assert lab.contents()["a.tif"].formula == "MoS2"


def test_a_new_round_starts_from_nothing(lab: Lab) -> None:
    lab.work(running(lab), status="failed", reason="no")
    lab.look()
    with lab.ledger() as ledger:
        assert len(ledger.retry(ledger.contents(State.FAILED))) == 1
        assert not ledger.retry(ledger.contents(State.WAITING, State.RUNNING))
    content = lab.contents()["a.tif"]
    assert (content.state, content.round, content.attempt, content.reason) == (State.WAITING, 1, 0, "")
    lab.look()
    lab.work_all()
    assert lab.look().finished == ["a.tif"]
    assert [key[-2:] for key in lab.completed] == ["-0", "-1"]


def test_a_folder_for_everybody_is_said(lab: Lab) -> None:
    assert not lab.look().warnings
    lab.root.chmod(0o777)
    (sentence,) = lab.look().warnings
    assert "anybody" in sentence


def test_a_share_that_vanishes_loses_nothing(lab: Lab, tmp_path: Path) -> None:
    lab.drop("a.tif", b"a")
    lab.drop("sub/b.tif", b"b")
    lab.look()
    lab.look()
    away = lab.root.rename(tmp_path / "away")
    for make in (lambda: None, lab.root.mkdir):  # the mount point is gone, or there and empty
        make()
        told = lab.look()
        assert told.counts["gone"] == 0
        assert "mount it again" in told.trouble[0]
    lab.work_all()
    assert len(lab.look().finished) == 2
    lab.root.rmdir()
    away.rename(lab.root)
    assert lab.look().trouble == []


def test_the_folder_and_its_results_are_two_folders(lab: Lab) -> None:
    lab.out = lab.root
    with pytest.raises(IntakeError, match="choose another --out"):
        lab.look()


def test_reading_is_spread_over_passes(lab: Lab) -> None:
    lab.settings = replace(lab.settings, hashing=-1.0)
    for name in "abc":
        lab.drop(f"{name}.tif", name.encode())
    lab.look()
    assert [len(lab.look().new) for _ in range(4)] == [1, 1, 1, 0]


def test_two_watchers_do_not_meet(lab: Lab) -> None:
    with claims.only_pass(lab.out), pytest.raises(ClaimedError, match="another watcher writes here"):
        lab.look()
    with claims.only_watcher(lab.out):  # held by whoever starts the passes
        lab.look()


def test_an_output_folder_belongs_to_one_watched_folder(lab: Lab, tmp_path: Path) -> None:
    lab.drop("a.tif", b"a")
    lab.look()
    other = tmp_path / "other"
    other.mkdir()
    first, lab.root = lab.root, other
    with pytest.raises(LedgerError, match=f"is the ledger of {first}; choose another output folder for {other}"):
        lab.look()
    with pytest.raises(LedgerError, match="is the ledger of"):
        Ledger(lab.out / LEDGER, root=other)
    other.rmdir()
    first.rename(other)  # but one that has moved is the same
    lab.look()
    assert lab.files() == {"a.tif": ("known", "")}


def test_a_pass_is_told_in_a_line(lab: Lab) -> None:
    lab.drop("a.tif", b"a")
    lab.drop("b.tif", b"b")
    assert str(lab.look()) == "nothing new"
    lab.runs.away = True
    assert str(lab.look()) == "2 new; the server does not answer; start it"
    lab.runs.away = False
    assert str(lab.look()) == "2 started"


def test_a_pass_without_news_reads_no_file_and_writes_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(40):
        lab.drop(f"{number % 10}/{number}.tif", str(number).encode())
    lab.settings = replace(lab.settings, in_flight=1000)
    lab.finish_everything()

    def refused(*_: object) -> None:
        raise AssertionError("a file was read")

    monkeypatch.setattr(folder, "stable_digest", refused)
    with lab.ledger() as ledger:
        said: list[str] = []
        ledger._db.set_trace_callback(said.append)
        told = one_pass(ledger, lab.root, lab.out, lab.runs, lab.now + 100)
    assert told.counts["done"] == told.counts["known"] == 40
    assert [sentence.split()[0] for sentence in said if not sentence.startswith("SELECT")] == [
        "BEGIN",
        "INSERT",
        "COMMIT",
    ]
