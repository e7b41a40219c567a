from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planning.planner import MAX_ATTEMPTS, Situation, legal_branches, plan, settled
from planning.records import Branch, Check, Status, Verdict

NAMES = ["lattice", "one_lattice", "template", "fit", "shift", "strain", "superstructure", "distances", "margin"]
NAMES += ["charge", "relaxation", "energy"]
ENDS = (Branch.ACCEPT, Branch.GIVE_UP)

verdicts = st.none() | st.builds(
    lambda failed, status: verdict(status, *failed), st.sets(st.sampled_from(NAMES)), st.sampled_from(list(Status)[:3])
)
situations = st.builds(Situation, st.integers(0, 20), st.booleans())


def verdict(status: Status, *failed: str) -> Verdict:
    checks = tuple(Check(name, 0.0, 1.0, name not in failed, "") for name in NAMES)
    return Verdict(checks, 0.5, status, "why")


def test_an_accepted_attempt_ends_the_run() -> None:
    assert plan(verdict(Status.ACCEPTED), (), Situation(9, True)).branch is Branch.ACCEPT


def test_an_ambiguous_answer_is_reported_not_thrown_away() -> None:
    decision = plan(verdict(Status.AMBIGUOUS, "margin"), (), Situation(9, True))
    assert decision.branch is Branch.ACCEPT
    assert "margin" in decision.reason


def test_a_lattice_that_is_not_seen_is_looked_for_once_in_the_denoised_image() -> None:
    unseen = verdict(Status.REJECTED, "lattice", "template")
    assert plan(unseen, (), Situation(9, True)).branch is Branch.REDENOISE
    assert plan(unseen, (Branch.REDENOISE,), Situation(9, True)).branch is Branch.GIVE_UP


def test_two_crystals_stay_two() -> None:
    assert plan(verdict(Status.REJECTED, "one_lattice", "lattice"), (), Situation(9, True)).branch is Branch.GIVE_UP


@pytest.mark.parametrize("name", ["template", "fit", "shift", "strain"])
def test_a_bad_fit_widens_the_search_first_and_doubts_the_elements_last(name: str) -> None:
    bad = verdict(Status.REJECTED, name)
    wanted = (
        Branch.WIDEN_SEARCH,
        Branch.TRY_SUPERCELL,
        Branch.SUBSTITUTE,
        Branch.TEMPLATE_FREE,
        Branch.DROP_ELEMENT_FILTER,
    )
    for count, branch in enumerate(wanted):
        assert plan(bad, wanted[:count], Situation(9, True)).branch is branch
    assert plan(bad, wanted[:1], Situation(9, False)).branch is Branch.TRY_SUPERCELL
    assert plan(bad, wanted[:2], Situation(9, False)).branch is Branch.GIVE_UP


def test_the_users_elements_are_not_doubted_for_a_fit_that_is_merely_imperfect() -> None:
    branches = legal_branches(verdict(Status.AMBIGUOUS, "fit"), (), Situation(9, True))
    assert branches == (Branch.WIDEN_SEARCH, Branch.TRY_SUPERCELL, Branch.SUBSTITUTE, Branch.TEMPLATE_FREE)


def test_the_users_elements_are_doubted_for_an_answer_that_is_hardly_likely() -> None:
    hopeless = replace(verdict(Status.AMBIGUOUS, "fit"), confidence=0.02)
    assert legal_branches(hopeless, (), Situation(9, True))[-1] is Branch.DROP_ELEMENT_FILTER


def test_a_relaxation_that_met_its_limits_says_nothing_against_the_structure() -> None:
    unfinished = verdict(Status.AMBIGUOUS, "relaxation")
    assert plan(unfinished, (), Situation(9, True)).branch is Branch.ACCEPT
    assert settled(unfinished)


def test_reflections_between_the_others_ask_for_a_larger_cell() -> None:
    larger = verdict(Status.AMBIGUOUS, "superstructure")
    assert legal_branches(larger, (), Situation(9, True)) == (Branch.TRY_SUPERCELL, Branch.WIDEN_SEARCH)
    tried = (Branch.TRY_SUPERCELL, Branch.WIDEN_SEARCH)
    assert plan(larger, tried, Situation(9, True)).branch is Branch.ACCEPT


def test_an_answer_that_passes_every_check_and_is_unlikely_is_held_against_others() -> None:
    unsure = verdict(Status.AMBIGUOUS)
    assert plan(unsure, (), Situation(9, True)).branch is Branch.WIDEN_SEARCH
    widened = (Branch.WIDEN_SEARCH,)
    assert plan(unsure, widened, Situation(9, True, likeness=0.99)).branch is Branch.SUBSTITUTE
    assert plan(unsure, widened, Situation(9, False)).branch is Branch.ACCEPT
    assert plan(unsure, (*widened, Branch.SUBSTITUTE), Situation(9, True)).branch is Branch.ACCEPT


def test_an_unstable_crystal_gives_way_to_the_next_hypothesis_while_there_is_one() -> None:
    unstable = verdict(Status.AMBIGUOUS, "energy")
    assert plan(unstable, (), Situation(1, False)).branch is Branch.NEXT_TEMPLATE
    assert plan(unstable, (), Situation(0, False)).branch is Branch.WIDEN_SEARCH


def test_an_unstable_crystal_that_the_image_leaves_no_doubt_of_is_kept() -> None:
    unstable = verdict(Status.AMBIGUOUS, "energy")
    sure = replace(unstable, checks=tuple(replace(c, value=99.0) if c.name == "margin" else c for c in unstable.checks))
    assert legal_branches(sure, (), Situation(9, False)) == ()
    assert Branch.NEXT_TEMPLATE in legal_branches(sure, (), Situation(9, False, made=True))


def test_without_planner_the_first_attempt_is_kept() -> None:
    decision = plan(verdict(Status.AMBIGUOUS, "fit"), (), Situation(9, True), "none")
    assert (decision.branch, decision.chosen_by) == (Branch.ACCEPT, "none")
    assert plan(verdict(Status.REJECTED, "fit"), (), Situation(9, True), "none").branch is Branch.GIVE_UP


@given(st.lists(verdicts, min_size=MAX_ATTEMPTS, max_size=MAX_ATTEMPTS), situations)
def test_a_run_ends_within_the_bound_and_never_takes_an_illegal_branch(
    story: list[Verdict | None], situation: Situation
) -> None:
    tried: list[Branch] = []
    for attempt in story:
        decision = plan(attempt, tried, situation)
        assert decision == plan(attempt, tried, situation)
        if decision.branch in ENDS:
            break
        assert decision.branch in legal_branches(attempt, tried, situation)
        tried.append(decision.branch)
    else:
        pytest.fail("more attempts than allowed")


def test_a_known_structure_behind_a_distorted_scan_is_not_given_up_for_a_made_one() -> None:
    bad = verdict(Status.AMBIGUOUS, "fit")
    assert legal_branches(bad, (Branch.WIDEN_SEARCH,), Situation(0, True, likeness=0.97)) == (Branch.TRY_SUPERCELL,)
    assert Branch.SUBSTITUTE in legal_branches(bad, (Branch.WIDEN_SEARCH,), Situation(0, True, likeness=0.92))


def test_charges_that_do_not_balance_are_told_and_decide_nothing() -> None:
    told = verdict(Status.AMBIGUOUS, "charge", "margin")
    assert plan(told, (), Situation(9, True)) == plan(verdict(Status.AMBIGUOUS, "margin"), (), Situation(9, True))
