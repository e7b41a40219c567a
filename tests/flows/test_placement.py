"""Steps that other workers do, with the worker played by the test."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import fake_run
import pytest
from canned import Science
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_RESULTS_LOCAL_STORAGE_PATH, temporary_settings

from flows import placement
from flows.deploy import deploy
from flows.placement import PlacementError, place, remote_steps
from flows.worker import execute as execute_run
from intake.claims import claim
from models import denoising
from models.denoising import DenoiseOptions
from tasks import calls, steps
from tasks.store import Ref, save

# Prefect's engine leaves the sockets open through which it looks up the deployment of a run.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize(("value", "names"), [("", set()), (" , ", set()), ("relax, denoise", {"relax", "denoise"})])
def test_which_steps_go_elsewhere(value: str, names: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(placement.REMOTE, value)
    assert remote_steps() == names


def test_a_step_that_cannot_run_elsewhere_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(placement.REMOTE, "denoise,report")
    with pytest.raises(PlacementError, match="report: only denoise, relax, retrieve can run elsewhere"):
        remote_steps()


@pytest.fixture
def arguments(science: Science) -> tuple[Any, ...]:
    options = DenoiseOptions()
    return save(fake_run.micrograph()), options, denoising.digest(options)


@pytest.mark.prefect
def test_running_a_call_computes_what_the_step_would(science: Science, arguments: tuple[Any, ...]) -> None:
    there = flow(calls.run)(calls.keep(steps.denoise, arguments).digest)
    assert science.spent() == {"denoise": 1}
    assert ask(arguments)[0] == there
    assert not science.spent()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, prefect_server: None) -> None:
    deploy()
    monkeypatch.setenv(placement.REMOTE, "denoise")
    monkeypatch.setattr(placement, "POLL", 0.05)


@flow
def asking(arguments: tuple[Any, ...]) -> tuple[Ref, str]:
    return place(steps.denoise, arguments)


def ask(arguments: tuple[Any, ...]) -> tuple[Ref, str]:
    return asking.with_options(validate_parameters=False)(arguments)


def worker(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[Any]:
    """Let ``answer`` play the worker: it is given each run that is sent."""
    sent: list[Any] = []
    send = placement.run_deployment

    def run(*args: Any, **options: Any) -> Any:
        created = send(*args, **options)
        sent.append(created)
        answer(created)
        return created

    monkeypatch.setattr(placement, "run_deployment", run)
    return sent


def execute(run: Any) -> None:
    results = PREFECT_RESULTS_LOCAL_STORAGE_PATH.value()

    def work() -> None:
        with temporary_settings({PREFECT_RESULTS_LOCAL_STORAGE_PATH: results}):
            execute_run(str(run.id))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.mark.prefect
def test_a_step_that_a_worker_did_is_not_computed_here(
    elsewhere: None, science: Science, arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = worker(monkeypatch, execute)
    ref, trouble = ask(arguments)
    assert (ref.kind, trouble, len(sent)) == ("Denoised", "", 1)
    assert sent[0].work_pool_name == "automat-gpu"
    assert sent[0].work_queue_name == "denoise"
    assert science.spent() == {"denoise": 1}  # by the worker
    assert ask(arguments) == (ref, "")
    assert len(sent) == 1  # what is in the cache is not sent again


@pytest.mark.prefect
def test_a_step_that_nobody_takes_is_computed_here_and_said(
    elsewhere: None, science: Science, arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "PATIENCE", 0.2)
    ref, trouble = ask(arguments)
    assert ref.kind == "Denoised"
    assert trouble == "there was no worker for the step 'denoise'"
    assert science.spent() == {"denoise": 1}


@pytest.mark.prefect
def test_a_busy_worker_is_waited_for(
    elsewhere: None, science: Science, arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "PATIENCE", 0.2)
    asked: list[str] = []

    def there(_: Any, pool: str) -> bool:
        asked.append(pool)
        return len(asked) < 15

    monkeypatch.setattr(placement, "_somebody_there", there)
    ask(arguments)
    assert len(asked) > 15
    assert set(asked) == {"automat-gpu"}


@pytest.mark.prefect
def test_a_step_whose_workers_die_is_sent_again_and_then_computed_here(
    elsewhere: None, science: Science, arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.states import Running

    def die(run: Any) -> None:
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, Running(), force=True)

    monkeypatch.setattr(placement, "LOST", 0.2)
    sent = worker(monkeypatch, die)
    _, trouble = ask(arguments)
    assert trouble == "3 workers died over the step 'denoise'"
    assert len({run.id for run in sent}) == 3


@pytest.mark.prefect
def test_a_worker_that_holds_its_claim_is_alive(
    elsewhere: None, science: Science, arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    from prefect.states import Completed, Running

    monkeypatch.setattr(placement, "LOST", 0.2)

    def work(run: Any) -> None:
        def slowly() -> None:
            with claim(cache, f"{run.parameters['digest']}-0"), get_client(sync_client=True) as client:
                client.set_flow_run_state(run.id, Running(), force=True)
                threading.Event().wait(1.0)
                client.set_flow_run_state(run.id, Completed(), force=True)

        threading.Thread(target=slowly, daemon=True).start()

    sent = worker(monkeypatch, work)
    assert ask(arguments)[1] == ""
    assert len(sent) == 1


@pytest.mark.prefect
def test_a_worker_that_fails_is_told_of(
    elsewhere: None, science: Science, arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.states import Failed

    def fail(run: Any) -> None:
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, Failed(message="no weights there"), force=True)

    worker(monkeypatch, fail)
    ref, trouble = ask(arguments)
    assert ref.kind == "Denoised"
    assert trouble == "the worker of the step 'denoise' reported: no weights there"
