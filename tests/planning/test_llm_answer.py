from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from questions import OPTIONS

from planning.llm.answer import MAX_REASON, Answer, plain, read_answer
from planning.records import Branch


def body(content: Any, **choice: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content}, "finish_reason": "stop", **choice}]}).encode()


def chosen(branch: Any = "template_free", **others: Any) -> str:
    return json.dumps({"branch": branch, "reason": "weak superstructure", **others})


def read(raw: bytes) -> Answer:
    return read_answer(raw, OPTIONS)


@pytest.mark.parametrize("around", [b"", b"\n\n\n", b"\r\n  "])
def test_a_proper_answer_is_taken_whatever_kept_the_connection_alive(around: bytes) -> None:
    found = read(around + body(chosen()) + around)
    assert found == Answer(Branch.TEMPLATE_FREE, "weak superstructure")


def test_tokens_are_counted_as_far_as_they_are_numbers() -> None:
    told = json.loads(body(chosen())) | {"usage": {"prompt_tokens": 9, "completion_tokens": "many", "cost": [1]}}
    assert read(json.dumps(told).encode()).tokens == {"prompt_tokens": 9}


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"", "the response is blank"),
        (b" \n\t ", "the response is blank"),
        (b"\xff\xfe", "the response is no text"),
        (b"<html>502</html>", "the response is no JSON"),
        (b"[" * 100_000, "the response is no JSON"),
        (b"9" * 10_000, "the response is no JSON"),
        (b": keep-alive\n\n", "the response is no JSON"),
        (b"[]", "the response is no chat completion"),
        (b'{"error": {"message": "no"}}', "the response is no chat completion"),
        (b'{"choices": []}', "the response holds no answer"),
        (body(None), "the answer is blank"),
        (body("   "), "the answer is blank"),
        (body(f"```json\n{chosen()}\n```"), "the answer is fenced, not plain JSON"),
        (body(chosen()[:-5]), "the answer is no JSON"),
        (body(chosen(), finish_reason="length"), "the answer was cut off"),
        (body(f"I choose {chosen()}"), "the answer is no JSON"),
        (body(chosen() + chosen()), "the answer is no JSON"),
        (body(chosen("rm -rf")), "the answer names no legal branch"),
        (body(chosen("next_template")), "the answer names no legal branch"),
        (body(chosen("give_up")), "the answer names no legal branch"),
        (body(chosen("TEMPLATE_FREE")), "the answer names no legal branch"),
        (body(chosen(None)), "the answer is not a branch and a reason"),
        (body(chosen(["template_free"])), "the answer is not a branch and a reason"),
        (body(chosen(max_attempts=99)), "the answer is not a branch and a reason"),
        (body('{"branch": "template_free"}'), "the answer is not a branch and a reason"),
        (body('"template_free"'), "the answer is not a branch and a reason"),
    ],
)
def test_anything_else_is_a_problem_with_a_name(raw: bytes, problem: str) -> None:
    found = read(raw)
    assert (found.branch, found.problem) == (None, problem)


@given(
    st.binary()
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x, max_size=3), max_leaves=5
    ).map(lambda value: json.dumps(value).encode())
    | st.text().map(body)
    | st.fixed_dictionaries({"branch": st.sampled_from([*Branch, "x"]), "reason": st.text()}).map(
        lambda value: body(json.dumps(value))
    )
)
def test_any_bytes_give_a_legal_branch_or_a_problem(raw: bytes) -> None:
    found = read(raw)
    assert (found.branch in OPTIONS) == (found.problem == "")
    assert found.branch is None or found.branch in OPTIONS


@given(st.text(max_size=3000))
def test_a_reason_is_one_short_line_without_markup(text: str) -> None:
    said = plain(text)
    assert len(said) <= MAX_REASON
    assert said.isprintable()
    assert not set(said) & set('<>&[]`|\\"')
    assert plain(said) == said


def test_a_reason_cannot_move_the_cursor_or_open_a_tag() -> None:
    assert plain("fit < 0.9\n\x1b[31m<b>\u202e") == "fit ‹ 0.9 (31m‹b›"
    assert plain("x" * 500) == "x" * 199 + "…"
