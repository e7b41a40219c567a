"""Cases are plain data: their key says what they are, and nothing is lost on the way to a file and back."""

import json
from dataclasses import replace

import numpy as np
import pytest
from monolayers import MONOLAYERS

from benchmarks.cases import REGIMES, Case, Question, Variant, case_from_json, orientation
from benchmarks.evaluate import options
from benchmarks.materials import BenchmarkError, Material
from benchmarks.suites import ARTEFACT_STRENGTHS, SMALL_FIELDS, SUITES, all_cases, find_suite
from microscopy.artefacts import ARTEFACTS, LIMITS

MATERIAL = Material("MoS2", MONOLAYERS["MoS2 1H"][0])
CASE = Case("MoS2", (Question("I", relax=True), Question("IV", variant=Variant("x", single=True))), 1e4, {"drift": 2.0})


def test_a_case_survives_its_file():
    again = case_from_json(json.loads(json.dumps(CASE.to_json())))
    assert again == CASE
    assert again.key == CASE.key


@pytest.mark.parametrize(
    "change",
    [{"dose": 1e3}, {"artefacts": {"drift": 3.0}}, {"seed": 2}, {"questions": (Question("I"),)}, {"shape": (64, 96)}],
)
def test_whatever_changes_the_result_changes_the_key(change):
    assert replace(CASE, **change).key != CASE.key


def test_the_view_is_the_same_at_every_dose_and_another_for_another_material():
    assert orientation(CASE) == orientation(replace(CASE, dose=1e3, artefacts={}))
    assert orientation(CASE) != orientation(replace(CASE, material="other"))
    assert options(CASE).seed == options(replace(CASE, dose=1.0)).seed


def test_an_unknown_regime_is_refused():
    with pytest.raises(ValueError, match="I, II"):
        Question("V")


@pytest.mark.parametrize("name", SUITES)
def test_suites_ask_distinct_questions_of_known_regimes(name):
    cases = all_cases(find_suite(name), [MATERIAL, Material("other", MONOLAYERS["graphene"][0])], seed=3)
    assert len({case.key for case in cases}) == len(cases)
    assert {question.regime for case in cases for question in case.questions} <= set(REGIMES)
    for case in cases:
        assert len({(q.regime, q.variant.name) for q in case.questions}) == len(case.questions)
        assert all(LIMITS[each][0] <= strength <= LIMITS[each][1] for each, strength in case.artefacts.items())


def test_every_artefact_is_measured():
    assert set(ARTEFACT_STRENGTHS) == set(ARTEFACTS)


def test_small_fields_hold_as_many_cells_as_they_say():
    cases = [c for c in all_cases(SUITES["artefacts"], [MATERIAL], seed=3) if c.field_cells]
    assert [case.field_cells for case in cases] == list(SMALL_FIELDS)
    for case in cases:
        side = np.sqrt(MATERIAL.area) * case.field_cells
        assert case.shape[0] * case.pixel_size == pytest.approx(max(side, 6.4), abs=0.1)


def test_an_unknown_suite_names_the_choices():
    with pytest.raises(BenchmarkError, match="quick"):
        find_suite("slow")
