from __future__ import annotations

import dataclasses

import fake_run
import pytest

from microscopy.errors import ReadError
from planning.records import Branch, Status
from reporting import words
from reporting.building import build_result, failed_result


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (None, "unknown"),
        (1.0, "> 99.9 %"),
        (0.9995, "> 99.9 %"),
        (0.995, "99.5 %"),
        (0.93, "93 %"),
        (0.06, "6.0 %"),
        (0.0004, "< 0.1 %"),
        (0.0, "0.0 %"),
    ],
)
def test_percentages_never_claim_certainty(fraction: float | None, text: str) -> None:
    assert words.percent(fraction).replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(
    ("value", "error", "unit", "text"),
    [
        (3.184123, 0.0042, "Å", "3.184 ± 0.004 Å"),
        (3.184123, 0.0142, "Å", "3.184 ± 0.014 Å"),
        (119.934, 0.08, "°", "119.93° ± 0.08°"),
        (3.18, None, "Å", "3.180 Å"),
        (3.18, 0.0, "Å", "3.180 Å"),
        (3.2, 2.0, "Å", "3 ± 2 Å"),
    ],
)
def test_digits_follow_the_standard_error(value: float, error: float | None, unit: str, text: str) -> None:
    assert words.measured(value, error, unit).replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (-0.84213, "−0.8421"),
        (33.2, "33.2"),
        (12345.0, "12345"),
        (2.5e-9, "2.5 × 10⁻⁹"),
        (-8.1884e7, "−8.188 × 10⁷"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert words.number(value) == text


def test_formulas() -> None:
    assert words.formula("Bi2Se3") == "Bi₂Se₃"
    assert words.formula("Ca(OH)2") == "Ca(OH)₂"


@pytest.mark.parametrize(
    ("symbol", "others", "text"),
    [
        ("Mo", (), "no other"),
        ("Mo", ("Tc", "Nb", "Zr"), "Zr–Tc"),
        ("S", ("Cl",), "Cl"),
        ("Zn", ("Cr", "Mn", "Ni", "Cu", "Ga", "Br"), "Cr–Mn, Ni–Ga, Br"),
    ],
)
def test_elements_that_look_alike_are_given_as_ranges(symbol: str, others: tuple[str, ...], text: str) -> None:
    assert words.alike(symbol, others) == text


def test_every_branch_has_words() -> None:
    assert set(words.BRANCHES) == set(Branch)


def test_sentence_follows_the_status() -> None:
    found = fake_run.reconstruction()
    others = fake_run.candidates().items[1:]

    def sentence(status: Status, value: float = 0.97) -> str:
        verdict = fake_run.verdict(status, value)
        return words.verdict_sentence(
            build_result(fake_run.micrograph(), verdict, reconstruction=found, alternatives=others)
        )

    assert sentence(Status.ACCEPTED).startswith("This is MoS₂, layer group p-6m2 (no. 78)")
    assert "WS₂" in sentence(Status.AMBIGUOUS)
    assert "does not settle it" in sentence(Status.AMBIGUOUS)
    rejected = sentence(Status.REJECTED, value=0.5)
    assert "inspection only" in rejected
    assert "Failed: correlation." in rejected
    assert "This is" not in rejected


def test_failure_names_the_step() -> None:
    sentence = words.verdict_sentence(failed_result("a.tif", None, ReadError("a.tif: the file is empty")))
    assert sentence == "The run stopped while reading the image: a.tif: the file is empty"


def test_accepted_result_is_named() -> None:
    assert words.title(fake_run.whole_run()) == "MoS₂"


@pytest.mark.parametrize(("count", "text"), [(0, "no point defects"), (1, "1 point defect"), (3, "3 point defects")])
def test_defects_are_counted(count: int, text: str) -> None:
    found = dataclasses.replace(fake_run.reconstruction(), defects=fake_run.defects(count))
    examined = fake_run.whole_run(reconstruction=found).defects
    assert examined
    assert words.defects(examined) == f"{text} in 116 atomic columns"


def test_an_attempt_is_told_with_what_failed() -> None:
    first, second = (
        words.attempt(step)
        for step in build_result(
            fake_run.micrograph(), fake_run.verdict(), decisions=fake_run.decisions(), found=fake_run.found()
        ).attempts
    )
    assert first.startswith("MoSe₂ (2dm-3594): fit and position precision failed; confidence 31")
    assert "every check passed" in second


def test_an_attempt_without_a_structure_is_told() -> None:
    decisions = fake_run.decisions()[:2]
    nothing = dataclasses.replace(fake_run.found()[0], formula="", template="", origin="", failed=("template",))
    steps = build_result(fake_run.micrograph(), fake_run.verdict(), decisions=decisions, found=(nothing, None)).attempts
    assert words.attempt(steps[0]) == "No structure fits: template failed."
    assert words.attempt(steps[1]) == "A stage of this attempt failed."
