from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_run
import pytest
from canned import Science, judged

from flows.reconstruct import Outcome, reconstruct_file
from flows.settings import Settings, load_settings
from microscopy.errors import PotentialError, ReconstructionError
from planning.records import Status
from tasks.upkeep import DAY, RESULTS, prune

pytestmark = pytest.mark.prefect

STAGES = ("ingest", "straighten", "denoise", "retrieve", "reconstruct", "relax", "verify", "defects")
ALL = Counter(STAGES) + Counter(["verify"])  # before and after the relaxation
UNRELAXED = Counter(STAGES) - Counter(["relax"])


def run(image: Path, out: Path, **changes: Any) -> Outcome:
    return reconstruct_file(image, load_settings(None, changes), out)


def document(outcome: Outcome) -> dict[str, Any]:
    assert outcome.folder is not None
    return dict(json.loads((outcome.folder / "result.json").read_text()))


def test_a_run_computes_every_stage_once_and_writes_its_folder(science: Science, image: Path, tmp_path: Path) -> None:
    outcome = run(image, tmp_path / "runs")
    assert science.spent() == ALL
    assert outcome.result.status is Status.ACCEPTED
    assert outcome.folder is not None
    names = {path.name for path in outcome.folder.iterdir()}
    assert names == {"result.json", "report.html", "overlay.png", "structure.cif", "relaxed.cif", "alternatives"}
    told = document(outcome)
    assert told == json.loads(json.dumps(outcome.result.to_dict()))
    assert told["image"]["path"] == str(image)
    assert set(told["timings_s"]) == {*STAGES, "plan"}
    assert [each["branch"] for each in told["attempts"]] == ["accept"]


def test_the_same_input_is_never_computed_twice(science: Science, image: Path, tmp_path: Path) -> None:
    first = run(image, tmp_path / "runs")
    science.spent()
    shutil.rmtree(tmp_path / "runs")
    second = run(image, tmp_path / "runs")
    assert science.spent() == Counter()
    assert second.result == first.result

    (tmp_path / "moved").mkdir()
    moved = image.rename(tmp_path / "moved" / "another name.npy")
    third = run(moved, tmp_path / "elsewhere")
    assert science.spent() == Counter()
    assert third.result.image.path == str(moved)
    assert "another name.npy" in (third.folder / "report.html").read_text()  # type: ignore[operator]


def test_a_change_recomputes_exactly_what_depends_on_it(science: Science, image: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    run(image, out)
    science.spent()

    science.weights = "weights-2"
    run(image, out)
    assert science.spent() == Counter(["denoise"])

    science.checkpoint = "checkpoint-2"
    run(image, out)
    assert science.spent() == Counter(["relax", "verify"])

    science.library = "library-2"
    run(image, out)
    # The candidates come out the same here, so nothing behind them runs again.
    assert science.spent() == Counter(["retrieve"])

    run(image, out, retrieval={"exclude": ("ws2-1h",)})
    assert science.spent() == Counter(["retrieve", "reconstruct", "verify", "verify"])

    run(image, out, relax={"max_steps": 7})
    assert science.spent()["relax"] == 1

    run(image, out, read={"dose": 2e4})
    assert science.spent() == ALL - Counter(["relax"])

    run(image, out, denoise={"strength": 2.0})
    assert science.spent() == Counter(["denoise"])


def test_without_relaxation_there_is_no_energy(science: Science, image: Path, tmp_path: Path) -> None:
    outcome = run(image, tmp_path, relaxation=False)
    assert science.spent() == UNRELAXED
    assert outcome.result.energy is None


def test_a_lost_record_is_computed_again(science: Science, image: Path, tmp_path: Path, cache: Path) -> None:
    first = run(image, tmp_path)
    science.spent()
    for path in (cache / "records" / "Reconstruction").rglob("*.npz"):
        path.unlink()
    again = run(image, tmp_path)
    assert science.spent() == Counter(["reconstruct"])
    assert again.result == first.result


def age(cache: Path, days: float) -> None:
    then = time.time() - days * DAY
    for path in cache.rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))


def test_what_a_run_finds_in_the_cache_is_in_use(science: Science, image: Path, tmp_path: Path, cache: Path) -> None:
    run(image, tmp_path)
    age(cache, 40)
    unused = cache / "results" / "automat-verify-unused"
    unused.touch()
    os.utime(unused, (0, 0))
    run(image, tmp_path)
    assert prune(older_than=DAY, keep=0).removed.keys() == {RESULTS}
    assert not unused.exists()
    science.spent()
    run(image, tmp_path)
    assert science.spent() == Counter()


# Here some stages give what an earlier one gave: the record is there again when their turn comes.
@pytest.mark.parametrize(
    ("lost", "computed"), [("records", set(STAGES) - {"straighten", "defects"}), ("results", set(STAGES))]
)
def test_what_was_pruned_is_computed_again(
    lost: str, computed: set[str], science: Science, image: Path, tmp_path: Path, cache: Path
) -> None:
    first = run(image, tmp_path)
    science.spent()
    age(cache / lost, 40)
    assert prune(older_than=30 * DAY).removed
    again = run(image, tmp_path)
    assert set(science.spent()) == computed
    assert again.result == first.result.model_copy(update={"timings_s": again.result.timings_s})
    assert run(image, tmp_path).result == again.result
    assert science.spent() == Counter()


def test_a_bad_fit_is_retried_within_bounds_and_the_best_attempt_is_kept(
    science: Science, image: Path, tmp_path: Path
) -> None:
    verdicts = iter(
        [
            judged(Status.REJECTED, "fit", confidence=0.2),
            judged(Status.AMBIGUOUS, "energy", confidence=0.6),
            judged(Status.AMBIGUOUS, "energy", confidence=0.4),
            judged(Status.REJECTED, "fit", confidence=0.1),
            judged(Status.REJECTED, "fit", confidence=0.1),
            judged(Status.REJECTED, "fit", confidence=0.1),
            judged(Status.REJECTED, "fit", confidence=0.1),
            judged(Status.REJECTED, "fit", confidence=0.1),
        ]
    )
    science.judge = lambda _: next(verdicts)
    outcome = run(image, tmp_path, read={"elements": ("Mo", "S")}, relaxation=False)
    assert next(verdicts, None) is None
    assert outcome.result.confidence == 0.6
    branches = [each["branch"] for each in document(outcome)["attempts"]]
    assert branches == [
        "widen_search",
        "next_template",
        "next_template",
        "try_supercell",
        "substitute",
        "template_free",
        "drop_element_filter",
        "give_up",
    ]
    found = [each["found"] for each in document(outcome)["attempts"]]
    assert [each["kept"] for each in found] == [False, True, *[False] * 6]
    assert found[0]["failed"] == ["fit"]
    assert found[1] | {"status": "ambiguous", "confidence": 0.6, "failed": ["energy"]} == found[1]
    first, wide, larger, guess, free, _ = science.searches
    assert wide.strain > first.strain
    assert (wide.supercells, larger.supercells) == (False, True)
    assert [each.substitute for each in science.searches] == [False, False, False, True, True, True]
    assert (guess.template_free, free.template_free) == (False, True)


def test_a_lattice_that_is_not_seen_is_looked_for_in_the_denoised_image(
    science: Science, image: Path, tmp_path: Path
) -> None:
    science.judge = lambda _: (
        fake_run.verdict() if science.seen_denoised[-1] else judged(Status.REJECTED, "lattice", "template")
    )
    told = document(run(image, tmp_path, relaxation=False))
    assert [each["branch"] for each in told["attempts"]] == ["redenoise", "accept"]
    assert science.seen_denoised == [False, True]


def test_dropping_the_element_filter_is_said(science: Science, image: Path, tmp_path: Path) -> None:
    def judge(candidates: Any) -> Any:
        return fake_run.verdict() if not science.searches[-1].use_elements else judged(Status.REJECTED, "fit")

    science.judge = judge
    told = document(run(image, tmp_path, read={"elements": ("B", "N")}))
    assert [each["branch"] for each in told["attempts"]] == [
        "widen_search",
        "try_supercell",
        "substitute",
        "template_free",
        "drop_element_filter",
        "accept",
    ]
    assert any("other elements" in warning for warning in told["warnings"])


def test_without_planner_there_is_one_attempt(science: Science, image: Path, tmp_path: Path) -> None:
    science.judge = lambda _: judged(Status.AMBIGUOUS, "fit")
    outcome = run(image, tmp_path, planner="none")
    assert science.spent() == ALL  # an imperfect fit is relaxed once nothing else is left to try
    assert [(each.branch, each.chosen_by) for each in outcome.result.attempts] == [("accept", "none")]


def test_an_image_that_nothing_explains_is_rejected_not_failed(
    science: Science, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reconstruction import retrieval

    monkeypatch.setattr(
        retrieval, "retrieve", lambda *_: replace(fake_run.candidates(), items=(), lattice=None, margin=0.0)
    )
    science.judge = lambda _: judged(Status.REJECTED, "lattice")
    outcome = run(image, tmp_path)
    assert outcome.result.status is Status.REJECTED
    assert outcome.result.structure is None
    assert outcome.folder is not None
    assert {path.name for path in outcome.folder.iterdir()} == {"result.json", "report.html"}


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "relax"])
def test_an_expected_error_names_its_stage(stage: str, science: Science, image: Path, tmp_path: Path) -> None:
    science.fail[stage] = ReconstructionError("it does not work; do otherwise")
    outcome = run(image, tmp_path)
    told = document(outcome)
    assert told["status"] == "failed"
    assert told["error"] == {
        "stage": "reconstruct",
        "type": "ReconstructionError",
        "message": "it does not work; do otherwise",
    }
    assert told["structure"] is None
    assert science.calls[stage] == 1


def test_a_crystal_without_an_energy_is_still_a_crystal(science: Science, image: Path, tmp_path: Path) -> None:
    science.fail["relax"] = PotentialError("the potential does not know Og")
    told = document(run(image, tmp_path))
    assert told["status"] == "accepted"
    assert told["energy"] is None
    assert "no energy: the potential does not know Og" in told["warnings"]


def test_an_image_without_a_pixel_size_says_what_to_give(
    science: Science, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from microscopy import readers

    monkeypatch.setattr(
        readers, "read_micrograph", lambda *_: replace(fake_run.micrograph(), pixel_size=None, elements=None)
    )
    told = document(run(image, tmp_path))
    assert told["status"] == "failed"
    assert "--pixel-size" in told["error"]["message"]


def test_an_unexpected_error_is_one_line_and_names_the_stage(science: Science, image: Path, tmp_path: Path) -> None:
    science.fail["verify"] = ZeroDivisionError("division\nby zero")
    told = document(run(image, tmp_path))
    assert told["error"]["stage"] == "verify"
    assert told["error"]["message"] == "unexpected ZeroDivisionError: division by zero"


def test_an_error_in_a_later_attempt_keeps_what_was_found(science: Science, image: Path, tmp_path: Path) -> None:
    def judge(candidates: Any) -> Any:
        science.fail["retrieve"] = ReconstructionError("the wide search failed")
        return judged(Status.REJECTED, "fit", confidence=0.3)

    science.judge = judge
    outcome = run(image, tmp_path)
    assert (outcome.result.status, outcome.result.confidence) == (Status.REJECTED, 0.3)
    assert len(outcome.result.attempts) > 1


def test_a_file_that_cannot_be_opened_leaves_no_folder(science: Science, tmp_path: Path) -> None:
    outcome = run(tmp_path / "missing.tif", tmp_path / "runs")
    assert outcome.folder is None
    assert outcome.result.error is not None
    assert outcome.result.error.stage == "ingest"
    assert not (tmp_path / "runs").exists()


def test_the_run_is_shown_in_prefect(science: Science, image: Path, tmp_path: Path) -> None:
    from prefect.client.orchestration import get_client

    run(image, tmp_path, read={"elements": ("Mo", "S")})
    with get_client(sync_client=True) as client:
        flow_run = max(client.read_flow_runs(), key=lambda each: each.created)
        artifacts = client.request("POST", "/artifacts/filter", json={}).json()
    assert flow_run.name == "flake 07.npy"
    assert {"automat", "Mo", "S"} <= set(flow_run.tags)
    assert flow_run.state is not None
    assert flow_run.state.is_completed()
    (shown,) = [each for each in artifacts if each["flow_run_id"] == str(flow_run.id)]
    assert shown["key"].startswith("flake-07-npy-")
    assert "data:image/png;base64," in shown["description"]
    assert "**MoS₂**: accepted" in shown["description"]
    assert "| Formula | MoS₂ |" in shown["data"]
    assert "report.html`" in shown["data"]


def test_a_failed_run_is_shown_as_failed(science: Science, image: Path, tmp_path: Path) -> None:
    from prefect.client.orchestration import get_client

    science.fail["denoise"] = ReconstructionError("no")
    run(image, tmp_path)
    with get_client(sync_client=True) as client:
        flow_run = max(client.read_flow_runs(), key=lambda each: each.created)
    assert flow_run.state is not None
    assert flow_run.state.is_failed()


def test_defaults_are_the_settings_of_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.toml").write_text("")
    assert load_settings(tmp_path / "empty.toml", {}) == Settings()
