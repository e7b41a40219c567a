"""A watched folder on a real Prefect server, its runs executed as a worker executes them."""

from __future__ import annotations

import errno
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from canned import Science
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.exceptions import MissingResult
from prefect.states import Cancelled, Cancelling, Pending, Running

from flows import submission
from flows.deploy import crash_leftovers, deploy, deployment_name, paused, schedule
from flows.drop import QUIET, drop_folder, reconstruct_dropped
from flows.settings import load_settings
from flows.worker import execute
from intake.claims import finished
from intake.errors import UnreachableError
from intake.ledger import Ledger
from intake.places import LEDGER
from intake.records import Content, Job, RunState, State
from microscopy.errors import ReconstructionError
from microscopy.readers import digest
from tasks.store import GoneError

pytestmark = [
    pytest.mark.prefect,
    # Prefect's engine leaves the sockets open through which it looks up the deployment of a run.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

SETTINGS = load_settings(None, {}).model_dump(mode="json")


@pytest.fixture
def deployed(prefect_server: None) -> None:
    deploy()


@pytest.fixture
def drop(tmp_path: Path, image: Path) -> Path:
    folder = tmp_path / "drop"
    folder.mkdir()
    image.rename(folder / "flake.npy")
    return folder


def look(folder: Path) -> Any:
    return drop_folder(str(folder), str(out_of(folder)), SETTINGS, 8, 0.0, return_state=True)


def out_of(folder: Path) -> Path:
    return folder.with_name("drop-results")


def contents(folder: Path) -> list[Content]:
    with Ledger(out_of(folder) / LEDGER, readonly=True) as ledger:
        return ledger.contents()


def work(folder: Path) -> None:
    """What a worker does with the runs that wait for it."""
    for content in contents(folder):
        if content.state is State.RUNNING:
            assert content.run_id
            execute(content.run_id)


def start(folder: Path) -> None:
    look(folder)
    look(folder)  # a file must have been the same twice


@pytest.fixture
def started(deployed: None, science: Science, drop: Path) -> Path:
    (drop / "automat.toml").write_text('elements = ["Sn", "Se"]\n')
    start(drop)
    return drop


def flow_run(id: str | None) -> Any:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(id)  # type: ignore[arg-type]


def test_a_dropped_file_is_reconstructed_once_with_what_its_folder_says(started: Path, science: Science) -> None:
    (content,) = contents(started)
    assert content.state is State.RUNNING
    run = flow_run(content.run_id)
    assert run.name == "flake.npy"
    assert {"automat", "drop", "Se", "Sn"} <= set(run.tags)

    work(started)
    assert look(started).name == "Completed"
    (content,) = contents(started)
    assert (content.state, content.status) == (State.DONE, "accepted")
    result = json.loads((out_of(started) / str(content.folder) / "result.json").read_text())
    assert result["image"]["elements"] == ["Se", "Sn"]
    run = flow_run(content.run_id)
    assert run.state.name == "Accepted"
    assert run.state.message == f"MoS₂, 93 %; see {out_of(started) / str(content.folder)}"
    assert {"accepted", "MoS2"} <= set(run.tags)

    science.spent()
    (started / "copy.npy").write_bytes((started / "flake.npy").read_bytes())
    start(started)
    assert len(contents(started)) == 1
    assert not science.spent()


def test_a_pass_that_finds_nothing_is_quiet(started: Path) -> None:
    work(started)
    look(started)
    state = look(started)
    assert state.name == QUIET
    assert state.message == "in all 1 done"


def test_a_run_that_is_repeated_gives_the_first_answer_and_computes_nothing(started: Path, science: Science) -> None:
    work(started)
    (content,) = contents(started)
    science.spent()
    parameters = flow_run(content.run_id).parameters
    assert reconstruct_dropped(**parameters, return_state=True).is_completed()
    assert not science.spent()


def test_a_file_that_cannot_be_explained_fails_with_its_reason(started: Path, science: Science) -> None:
    science.fail["retrieve"] = ReconstructionError("no lattice here")
    work(started)
    look(started)
    (content,) = contents(started)
    assert (content.state, content.status) == (State.FAILED, "failed")
    assert "no lattice here" in content.reason
    assert flow_run(content.run_id).state.is_failed()


@pytest.mark.parametrize(
    "fault",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        httpx.ConnectError("All connection attempts failed"),
        MissingResult("the database was restarted"),
        GoneError("x.npz: the stored Micrograph is gone; run again"),
    ],
)
def test_what_the_machine_does_wrong_is_not_the_files_fault(started: Path, science: Science, fault: Exception) -> None:
    science.fail["denoise"] = fault
    work(started)
    (content,) = contents(started)
    assert flow_run(content.run_id).state.is_crashed()
    assert finished(out_of(started), content.key) is None
    look(started)
    (content,) = contents(started)
    assert content.attempt == 1
    assert content.state is not State.FAILED


def test_a_file_that_was_replaced_since_is_not_taken_for_the_one_that_was_seen(started: Path, science: Science) -> None:
    np.save(started / "flake.npy", np.ones((8, 8)))
    work(started)
    look(started)
    seen = {each.sha256: each for each in contents(started)}
    old = next(each for sha256, each in seen.items() if sha256 != digest(started / "flake.npy"))
    assert old.state is State.FAILED
    assert "changed after it was seen" in old.reason
    assert "denoise" not in science.spent()


def test_settings_that_are_no_use_fail_the_file_and_nothing_else(started: Path) -> None:
    (content,) = contents(started)
    parameters = flow_run(content.run_id).parameters | {"settings": {"planner": "dice"}}
    state = reconstruct_dropped(**parameters, return_state=True)
    assert state.is_failed()
    assert "dice" in state.message


def test_the_same_job_is_the_same_run_and_the_next_attempt_another(deployed: None, tmp_path: Path) -> None:
    with get_client(sync_client=True) as client:
        runs = submission.PrefectRuns(client, SETTINGS, tmp_path)
        job = Job("0" * 64, tmp_path / "x.npy", "x.npy", {"formula": "MoS2"}, 0, 0)
        first, again = runs.submit(job), runs.submit(job)
        other = runs.submit(Job("0" * 64, tmp_path / "x.npy", "x.npy", {}, 0, 1))
        assert first == again != other
        unknown = "00000000-0000-0000-0000-000000000000"
        states = runs.states([first, unknown])
        assert states == {first: RunState.SCHEDULED, unknown: RunState.MISSING}
        found = client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[first])))  # type: ignore[list-item]
        assert "MoS2" in found[0].tags


def test_nothing_is_begun_on_a_disk_that_is_nearly_full(
    deployed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "MIN_FREE", 1 << 60)
    with get_client(sync_client=True) as client, pytest.raises(UnreachableError, match="nothing new is begun"):
        submission.PrefectRuns(client, SETTINGS, tmp_path).submit(Job("0" * 64, tmp_path, "x", {}, 0, 0))


def test_deploying_twice_leaves_one_of_each(deployed: None) -> None:
    deploy(gpus=2)
    with get_client(sync_client=True) as client:
        assert client.read_work_pool("automat-gpu").concurrency_limit == 2
        names = {queue.name for queue in client.read_work_queues(work_pool_name="automat-gpu")}
        assert {"denoise", "relax"} <= names
        found = [each for each in client.read_automations() if each.name.startswith("automat: ")]
        assert len(found) == 2
        assert all(each.enabled for each in found)
        for step in ("denoise", "relax", "retrieve"):
            deployment = client.read_deployment_by_name(f"step/{step}")
            assert deployment.entrypoint == "flows.placement.run_step"


def test_a_schedule_can_be_set_again_and_paused(deployed: None, tmp_path: Path) -> None:
    parameters = {"folder": str(tmp_path), "out": str(tmp_path), "settings": SETTINGS, "in_flight": 1, "settle": 0.0}
    schedule("here", timedelta(seconds=30), parameters)
    schedule("here", timedelta(seconds=60), parameters)
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("drop-folder/here")
        (every,) = deployment.schedules
        assert every.schedule.interval == timedelta(seconds=60)
        assert deployment.global_concurrency_limit is not None
        paused("here")
        assert client.read_deployment_by_name("drop-folder/here").paused
        schedule("here", timedelta(seconds=60), parameters)
        assert not client.read_deployment_by_name("drop-folder/here").paused


@pytest.mark.parametrize(
    ("folder", "name"), [("/data/night shift", "night-shift"), ("/data/a%b", "a-b"), ("/", "drop"), ("/x/v1.2", "v1.2")]
)
def test_a_deployment_is_named_after_its_folder(folder: str, name: str) -> None:
    assert deployment_name(Path(folder)) == name


def test_a_namesake_gets_a_deployment_of_its_own(deployed: None, tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "twins", tmp_path / "b" / "twins"
    others = {"out": str(tmp_path), "settings": SETTINGS, "in_flight": 1, "settle": 0.0}
    schedule(deployment_name(first), timedelta(seconds=30), {"folder": str(first), **others})
    assert deployment_name(first) == "twins"
    assert deployment_name(second) != "twins"
    assert deployment_name(second).startswith("twins-")
    paused("twins")


def test_runs_of_a_watcher_that_was_killed_are_declared_dead(started: Path) -> None:
    (content,) = contents(started)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(content.run_id, Running(), force=True)  # type: ignore[arg-type]
    crash_leftovers("reconstruct-file/automat", "drop-folder/never-there")
    assert flow_run(content.run_id).state.is_crashed()
    look(started)
    (content,) = contents(started)
    assert (content.state, content.attempt) == (State.WAITING, 1)


@pytest.mark.parametrize("state", [Cancelling(), Cancelled()])
def test_a_file_whose_run_was_cancelled_waits_to_be_asked_for_again(started: Path, state: Any) -> None:
    (content,) = contents(started)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(content.run_id, state, force=True)  # type: ignore[arg-type]
    look(started)
    look(started)
    (content,) = contents(started)
    assert (content.state, content.status) == (State.FAILED, "cancelled")
    with Ledger(out_of(started) / LEDGER, root=started) as ledger:
        ledger.retry([content])
    look(started)
    work(started)
    look(started)
    (content,) = contents(started)
    assert (content.state, content.status) == (State.DONE, "accepted")


def test_a_pass_of_a_watcher_that_was_killed_keeps_no_other_out(deployed: None, tmp_path: Path) -> None:
    parameters = {"folder": str(tmp_path), "out": str(tmp_path), "settings": SETTINGS, "in_flight": 1, "settle": 0.0}
    id = schedule("again", timedelta(seconds=30), parameters)

    def begun() -> bool:
        run = client.create_flow_run_from_deployment(id)
        client.set_flow_run_state(run.id, Pending())
        taken = bool(client.read_flow_run(run.id).state.is_pending())  # type: ignore[union-attr]
        if taken:
            client.set_flow_run_state(run.id, Running())
        return taken

    with get_client(sync_client=True) as client:
        assert begun()
        assert not begun()
        crash_leftovers("drop-folder/again")
        assert begun()
