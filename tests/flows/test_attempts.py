"""Which of several attempts is kept."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from flows import attempts
from flows.attempts import Attempt
from planning.records import Check, Status, Verdict


def attempt(origin: str, confidence: float, *failed: str) -> Attempt:
    checks = tuple(Check(name, 0.0, 1.0, False, "") for name in failed)
    verdict = Verdict(checks, confidence, Status.AMBIGUOUS if failed else Status.ACCEPTED, "")
    found = SimpleNamespace(candidate=SimpleNamespace(origin=origin))
    return Attempt(None, found, None, verdict)  # type: ignore[arg-type]


@pytest.mark.parametrize("resembling", [True, False])
def test_a_made_structure_in_vain_gives_way_to_a_known_one_that_resembles_the_image(monkeypatch, resembling):
    monkeypatch.setattr(attempts, "load", lambda record: record)
    known, made = attempt("template", 0.1, "fit"), attempt("substitution", 0.5, "residual")
    kept = max((known, made), key=lambda each: attempts._merit(each, resembling))
    assert kept is (known if resembling else made)


def test_a_made_structure_that_explains_the_image_is_kept(monkeypatch):
    monkeypatch.setattr(attempts, "load", lambda record: record)
    known, made = attempt("template", 0.1, "fit"), attempt("substitution", 0.9)
    assert max((known, made), key=lambda each: attempts._merit(each, True)) is made
