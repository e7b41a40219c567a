"""docs/planner.md says what the code does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from questions import OPTIONS, SITUATION, TRIED, UNFIT

from planning.limits import LIMITS
from planning.llm.client import request_body
from planning.llm.endpoint import PREFIX, Configuration, Endpoint
from planning.llm.question import BRANCHES, question
from planning.planner import MAX_ATTEMPTS, Situation, legal_branches
from planning.records import Branch, Check, Status, Verdict

PAGE = (Path(__file__).parents[2] / "docs" / "planner.md").read_text(encoding="utf-8")


def block(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- end -->", PAGE, re.DOTALL)
    assert found is not None, name
    return found[1]


def table() -> str:
    """Which failed checks make which branches legal, from the code."""
    rows: dict[tuple[Branch, ...], list[str]] = {}
    for name in LIMITS:
        verdict = Verdict((Check(name, 0.0, 1.0, False, ""),), 0.0, Status.REJECTED, "")
        legal = legal_branches(verdict, (), Situation(candidates_left=1, element_filter=True))
        rows.setdefault(legal, []).append(name)
    head = ["| Failed checks | Branches, preferred first |", "|---|---|"]
    return "\n".join(head + [f"| {listed(names)} | {listed(legal) or 'none'} |" for legal, names in rows.items()])


def listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def branches() -> str:
    rows = ["| Branch | What it does |", "|---|---|"]
    return "\n".join(rows + [f"| `{branch}` | {BRANCHES[branch]} |" for branch in Branch])


def test_the_table_of_checks_is_that_of_the_code() -> None:
    assert block("checks") == table(), f"put into docs/planner.md:\n{table()}"


def test_the_table_of_branches_is_that_of_the_code() -> None:
    assert block("branches") == branches(), f"put into docs/planner.md:\n{branches()}"


def test_the_bound_on_attempts_is_that_of_the_code() -> None:
    assert f"At most {MAX_ATTEMPTS} attempts are made" in " ".join(PAGE.split())


def test_the_example_is_what_is_sent() -> None:
    text = block("question").removeprefix("```json\n").removesuffix("\n```")
    assert json.loads(text) == json.loads(question(UNFIT, TRIED, SITUATION, OPTIONS)[1]["content"])
    body = request_body(Endpoint("https://api.deepseek.com", "m"), "json_object", [], OPTIONS)
    for name in body:
        assert f"`{name}`" in PAGE


@pytest.mark.parametrize("field", Configuration.model_fields)
def test_every_setting_is_told(field: str) -> None:
    assert f"`{PREFIX}{field.upper()}`" in PAGE
