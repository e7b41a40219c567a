from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from questions import KEY, OPTIONS, SITUATION, TRIED, UNFIT, configure

from benchmarks.scripted_llm import CHOICES, REPLIES, Script, completion, scripted
from planning.llm import client, decide
from planning.llm.client import Exchange
from planning.llm.decide import MAX_DECISIONS, Model, Recording, adviser
from planning.llm.endpoint import LlmError
from planning.llm.log import outcome
from planning.planner import MAX_ATTEMPTS, plan
from planning.records import Branch, Decision, Status

RULE = plan(UNFIT, TRIED, SITUATION)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "planner" / "llm.jsonl"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAUSES", (0.0, 0.0))


def decided(planner: Any, asked: int = 0, **changes: Any) -> Decision:
    return decide.decide(replace(UNFIT, **changes), TRIED, SITUATION, planner, MAX_ATTEMPTS, asked)


def told(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def model(script: Script, log: Path, monkeypatch: pytest.MonkeyPatch, **others: object) -> Model:
    configure(monkeypatch, script.base_url, **others)
    found = adviser("llm", log)
    assert isinstance(found, Model)
    return found


def test_rules_and_none_are_what_they_were() -> None:
    assert decided("rules") == RULE
    assert decided("none") == plan(UNFIT, TRIED, SITUATION, "none")


@pytest.mark.parametrize(("name", "branch"), [("first", OPTIONS[0]), ("last", OPTIONS[1]), ("stop", OPTIONS[2])])
def test_the_model_chooses_among_the_legal_branches_or_stops(
    name: str, branch: Branch, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted(name) as script:
        decision = decided(model(script, log, monkeypatch))
    assert decision == Decision(branch, f"{RULE.reason}; llm: scripted", "llm", asked=True)


BAD = sorted(set(REPLIES) - {"keep-alive", "hostile", "echo"})


@pytest.mark.parametrize("name", BAD)
def test_every_failure_ends_in_the_choice_of_the_rules_and_says_so(
    name: str, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted(name) as script:
        decision = decided(model(script, log, monkeypatch, deadline=0.5))
    last = told(log)[-1]
    assert (decision.branch, decision.chosen_by, decision.asked) == (RULE.branch, "rules", True)
    assert decision.reason == f"{RULE.reason}; chosen by the rules (llm: {last['problem']})"
    assert (last["chosen"], last["chosen_by"], last["parsed"]) == (RULE.branch, "rules", None)
    assert last["problem"]


def test_a_hostile_reason_arrives_as_harmless_text(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted("hostile") as script:
        decision = decided(model(script, log, monkeypatch))
    assert decision.chosen_by == "llm"
    assert decision.reason.isprintable()
    assert not set(decision.reason) & set("<>[]")
    assert len(decision.reason) < len(RULE.reason) + 220


def test_a_line_holds_what_was_sent_and_what_came_back_but_never_the_key(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted("echo") as script:
        planner = model(script, log, monkeypatch)
        decision = decided(planner)
        sent = script.requests
    (line,) = told(log)
    assert KEY not in log.read_text()
    assert KEY not in repr((planner, decision))
    assert "(key)" in line["raw"]
    assert line["request"] == sent[0]
    assert line["parsed"]["branch"] == line["chosen"] == "substitute"
    assert line["tokens"] == {"prompt_tokens": 900, "completion_tokens": 20}
    assert line["host"] == script.base_url.split("/")[2]
    assert (line["model"], line["status"], line["chosen_by"]) == ("scripted", 200, "llm")
    assert log.stat().st_mode & 0o077 == 0


def test_a_key_that_comes_back_in_disguise_is_struck_out() -> None:
    disguised = "".join(f"\\u{ord(sign):04x}" for sign in KEY)
    for said in (disguised, "x" * 190 + KEY):
        raw = completion(f'{{"branch": "accept", "reason": "{said}"}}')
        reason = outcome([Exchange({}, 200, raw, 0.1)], OPTIONS, KEY).reason
        assert "(key)" in reason
        assert KEY[:4] not in reason


def test_every_exchange_is_a_line(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted("500", "429", "last") as script:
        decided(model(script, log, monkeypatch))
    assert [(line["status"], line["chosen"]) for line in told(log)] == [
        (500, None),
        (429, None),
        (200, "template_free"),
    ]


def test_a_third_decision_is_the_rules(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted("last") as script:
        planner = model(script, log, monkeypatch)
        decision = decided(planner, asked=MAX_DECISIONS)
        assert not script.requests
    assert (decision.branch, decision.chosen_by) == (RULE.branch, "rules")
    assert "llm: asked 2 times already" in decision.reason
    assert not decision.asked


@pytest.mark.parametrize(
    "changes",
    [
        {"status": Status.ACCEPTED},
        {"checks": (replace(UNFIT.checks[0], passed=False),)},  # one branch, redenoise
        {"checks": (replace(UNFIT.checks[0], name="one_lattice", passed=False),)},  # none
    ],
)
def test_without_a_choice_nobody_is_asked(changes: Any, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted("last") as script:
        planner = model(script, log, monkeypatch)
        assert decided(planner, **changes) == plan(replace(UNFIT, **changes), TRIED, SITUATION)
        assert not script.requests


def test_the_end_of_a_rejected_attempt_is_to_give_up(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted("stop") as script:
        planner = model(script, log, monkeypatch)
        assert decided(planner, status=Status.REJECTED).branch is Branch.GIVE_UP
        assert decide.decide(None, TRIED, SITUATION, planner).branch is Branch.GIVE_UP


def test_nothing_is_sent_that_cannot_be_logged(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.mkdir(parents=True)
    with scripted("last") as script:
        decision = decided(model(script, log, monkeypatch))
        assert not script.requests
    assert (decision.branch, decision.chosen_by) == (RULE.branch, "rules")
    assert "cannot be written" in decision.reason


def test_a_key_is_sent_only_where_it_belongs(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted("last") as script, scripted("last") as other:
        planner = model(script, log, monkeypatch)
        configure(monkeypatch, other.base_url)
        assert "has changed" in decided(planner).reason
        assert not script.requests + other.requests


def test_a_run_is_replayed_from_its_log_without_model(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted("500", "last", "wrong") as script:
        planner = model(script, log, monkeypatch)
        first, second = decided(planner), decided(planner, confidence=0.5)
    monkeypatch.delenv("AUTOMAT_LLM_MODEL")
    replay = adviser(f"replay:{log}", log)
    assert decided(replay) == replace(first, reason=first.reason.replace("llm:", "replay:"), chosen_by="replay")
    assert decided(replay, confidence=0.5) == replace(second, reason=second.reason.replace("llm:", "replay:"))
    unknown = decided(replay, confidence=0.75)
    assert (unknown.branch, unknown.chosen_by) == (RULE.branch, "rules")
    assert "replay: the log holds no answer to this question" in unknown.reason


def test_a_log_that_is_no_log_gives_no_answer(tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted("last") as script:
        decided(model(script, log, monkeypatch))
    line = log.read_bytes()
    for contents in (b"", b"\xff\x00", line[:-20], line.replace(b'"template_free", "reason', b'"accept_all", "reason')):
        path = tmp_path / "other.jsonl"
        path.write_bytes(contents)
        assert decided(adviser(f"replay:{path}", log)).branch is RULE.branch
    path.write_bytes(line[:-20] + b"\n" + line)
    assert decided(adviser(f"replay:{path}", log)).chosen_by == "replay"


def test_a_log_that_changes_during_a_run_is_not_believed(tmp_path: Path, log: Path) -> None:
    log.parent.mkdir()
    log.write_text("")
    replay = adviser(f"replay:{log}", log)
    log.write_text("{}")
    assert "has changed" in decided(replay).reason


def test_a_replay_without_file_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(LlmError, match="No such file"):
        adviser(f"replay:{tmp_path / 'missing.jsonl'}", tmp_path)


def test_identities_say_who_answers_and_nothing_of_where_files_are(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted("last") as script:
        planner = model(script, log, monkeypatch)
    assert planner.identity == [script.base_url, "scripted", "json_object"]
    assert replace(planner, log=Path("elsewhere")).identity == planner.identity
    assert Recording(Path("a"), "1f").identity == Recording(Path("b"), "1f").identity == "1f"


@given(raw=st.binary(), name=st.sampled_from(sorted(CHOICES)))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_comes_back_the_branch_is_legal(
    raw: bytes, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, "http://127.0.0.1:9/v1")
    monkeypatch.setattr(decide, "ask", lambda *_: [Exchange({}, 200, raw, 0.1)])
    assert decided(adviser("llm", tmp_path / "log")).branch in OPTIONS
