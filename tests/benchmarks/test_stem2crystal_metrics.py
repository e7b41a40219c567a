"""The protocol's metrics on candidates made by hand: scale, formula, symmetry, rank, and every denominator."""

import json
import threading
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monolayers import MONOLAYERS, layer
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure
from strategies import slabs

from benchmarks.stem2crystal import published
from benchmarks.stem2crystal.metrics import FAILURES, RANKED, UNANSWERED, Sample, aggregate, sample_of, score_sample

ONE_H, ONE_T = MONOLAYERS["MoS2 1H"][0], MONOLAYERS["MoS2 1T"][0]
WRONG = MONOLAYERS["h-BN"][0]


def periodic(structure):
    return Structure(structure.lattice.matrix, structure.species, structure.frac_coords)


def stretched(structure, factor):
    lattice = Lattice(structure.lattice.matrix * factor)
    return Structure(lattice, structure.species, structure.frac_coords)


def rectangular(*sites):
    return periodic(layer(4.0, 6.0, 90, list(sites)))


@given(
    structure=slabs(max_sites=3), factor=st.floats(0.7, 2.0)
)  # smaller cells in as much vacuum are too large to match
@settings(max_examples=15, deadline=None)
def test_the_truth_itself_is_perfect_and_size_counts_only_where_it_should(structure, factor):
    truth = periodic(structure)
    same = score_sample(truth, [truth.copy()])
    assert (same.hit1, same.hit5, same.match_abs, same.space_group, same.failure) == (True, True, True, True, "hit")
    assert same.min_rms == pytest.approx(0.0, abs=1e-6)
    assert same.rmsd == pytest.approx(0.0, abs=1e-6)
    assert same.lattice == same.true_lattice
    other_size = score_sample(truth, [stretched(truth, factor)])
    assert other_size.hit1
    assert other_size.min_rms == pytest.approx(0.0, abs=1e-5)


def test_absolute_match_refuses_another_size():
    assert not score_sample(periodic(ONE_H), [stretched(periodic(ONE_H), 1.5)]).match_abs
    assert not score_sample(periodic(ONE_H), [stretched(periodic(ONE_H), 0.6)]).match_abs


def test_rms_of_a_known_displacement():
    """One of two atoms moved by d: each is d / 2 from the common mean, over (V/N)^(1/3); the RMSD is in Å again."""
    truth = rectangular(("Mo", 0, 0, 0), ("W", 0.5, 0.5, 0))
    d = 0.3
    moved = rectangular(("Mo", 0, 0, 0), ("W", 0.5 + d / 4.0, 0.5, 0))
    sample = score_sample(truth, [moved])
    length = (truth.volume / 2) ** (1 / 3)
    assert sample.min_rms == pytest.approx(d / 2 / length, rel=1e-3)
    assert sample.rmsd == pytest.approx(d / 2, rel=1e-3)


def test_only_the_first_five_count_and_only_the_first_for_rank_one():
    truth = periodic(ONE_H)
    wrong = [periodic(WRONG)] * RANKED
    assert score_sample(truth, [truth, *wrong]).hit1
    late = score_sample(truth, [*wrong[:4], truth])
    assert (late.hit1, late.hit5, late.match_abs, late.space_group, late.failure) == (False, True, True, False, "hit")
    too_late = score_sample(truth, [*wrong, truth])
    assert (too_late.hit5, too_late.min_rms, too_late.failure) == (False, None, "formula")


def test_polytypes_match_because_the_tolerance_of_sites_is_wide():
    """The protocol's own leniency: 0.5 (V/N)^(1/3) is 2 Å here. The space group and the RMS tell them apart."""
    sample = score_sample(periodic(ONE_H), [periodic(ONE_T)])
    assert (sample.hit1, sample.match_abs, sample.space_group) == (True, True, False)
    assert sample.min_rms > 0.1


def test_best_of_several_gives_the_rms():
    truth = rectangular(("Mo", 0, 0, 0), ("W", 0.5, 0.5, 0))
    near, far = (rectangular(("Mo", 0, 0, 0), ("W", 0.5 + d, 0.5, 0)) for d in (0.02, 0.1))
    assert score_sample(truth, [far, near]).min_rms == score_sample(truth, [near]).min_rms


def test_space_group_is_that_of_three_dimensions_within_a_tenth_of_an_angstrom():
    truth = periodic(ONE_H)
    assert score_sample(truth, [periodic(ONE_H).perturb(0.01)]).space_group
    buckled = rectangular(("Mo", 0, 0, 0), ("W", 0.5, 0.5, 0.0), ("S", 0.5, 0.1, 0.4))
    flat = rectangular(("Mo", 0, 0, 0), ("W", 0.5, 0.5, 0.0), ("S", 0.5, 0.1, 0.0))
    assert not score_sample(flat, [buckled]).space_group


@pytest.mark.parametrize(
    ("candidate", "failure"),
    [
        (periodic(WRONG), "formula"),
        (periodic(layer(3.18, 6.0, 90, [("Mo", 0, 0, 0), ("S", 0.5, 0, 3.5), ("S", 0, 0.5, -3.5)])), "wrong_lattice"),
        (periodic(layer(3.18, 3.18, 120, [("Mo", 0, 0, 0), ("S", 0, 0, 5), ("S", 0, 0, 10)])), "lattice_ok_wrong_SG"),
    ],
)
def test_why_a_miss_is_a_miss(candidate, failure):
    sample = score_sample(periodic(ONE_H), [candidate])
    assert (sample.hit5, sample.failure) == (False, failure)


def test_right_lattice_and_group_with_atoms_elsewhere():
    truth = rectangular(("Mo", 0, 0, 0), ("S", 0.5, 0.5, 0), ("O", 0, 0, 2.0), ("W", 0.5, 0.5, 6.0))
    other = rectangular(("Mo", 0, 0, 0), ("W", 0.5, 0.5, 0), ("S", 0, 0, 2.0), ("O", 0.5, 0.5, 6.0))
    sample = score_sample(truth, [other])
    assert (sample.failure, sample.space_group) == ("coord_other", True)


def test_nothing_to_score_is_unanswered():
    assert score_sample(periodic(ONE_H), []) == UNANSWERED


def test_a_comparison_that_could_take_long_is_no_match_and_needs_no_main_thread():
    many = Structure(Lattice.orthorhombic(30, 31, 20), ["C"] * 201, np.random.default_rng(0).random((201, 3)))
    needle = Structure(Lattice.orthorhombic(1, 1, 300), ["C"], [[0, 0, 0]])
    found = {}

    def score():
        found["many"] = score_sample(many, [many])
        found["needle"] = score_sample(needle, [needle])
        found["usual"] = score_sample(periodic(ONE_H), [periodic(ONE_H)])

    worker = threading.Thread(target=score)
    worker.start()
    worker.join(timeout=20)
    assert not worker.is_alive()
    assert (found["many"].hit5, found["needle"].hit5, found["usual"].hit5) == (False, False, True)
    assert found["many"].answered


GOOD = Sample(True, True, True, 0.02, True, 0.06, True, "hit", (3.0, 120.0), (3.1, 120.0))


def test_rates_are_over_all_and_means_over_what_matched():
    samples = [
        GOOD,
        replace(GOOD, hit1=False, min_rms=0.10, rmsd=0.2, space_group=False, lattice=(4.0, 90.0)),
        replace(GOOD, hit1=False, min_rms=0.03, match_abs=False, rmsd=None, true_lattice=(5.0, 90.0)),
        replace(GOOD, hit1=False, hit5=False, min_rms=None, match_abs=False, rmsd=None, failure="wrong_lattice"),
        UNANSWERED,
    ]
    figures = aggregate(samples)
    assert (figures["N"], figures["parsable"]) == (5, 4)
    assert (figures["Hit1"], figures["Hit5"], figures["Match_abs"], figures["SG_Acc"]) == (0.2, 0.6, 0.4, 0.6)
    assert (figures["MinRMS_median"], figures["MinRMS_mean"]) == (0.03, pytest.approx(0.05))
    assert figures["RMSD_A"] == pytest.approx(0.13)
    # Sorted b: found 3, 3, 3, 4; true 3.1, 3.1, 3.1, 5.
    assert figures["W1_b"] == pytest.approx((3 * 0.1 + 1.0) / 4)
    assert figures["W1_gamma"] == pytest.approx(0.0)
    # The unanswered one has no failure mode of its own: modes and hits need not sum to one.
    assert figures["failure_modes"] == {
        "formula": 0.0,
        "wrong_lattice": 0.2,
        "lattice_ok_wrong_SG": 0.0,
        "coord_other": 0.0,
    }


def test_nothing_matched_gives_no_figure_rather_than_a_good_one():
    figures = aggregate([UNANSWERED, UNANSWERED])
    assert (figures["Hit5"], figures["MinRMS_mean"], figures["RMSD_A"], figures["W1_b"]) == (0.0, None, None, None)
    assert aggregate([])["Hit1"] is None


@pytest.mark.parametrize("sample", [GOOD, UNANSWERED])
def test_a_sample_survives_json(sample):
    assert sample_of(json.loads(json.dumps(asdict(sample)))) == sample


def test_published_figures_have_the_names_of_ours():
    ours = aggregate([GOOD])
    assert set(published.COLUMNS) < set(ours)
    assert set(FAILURES) == set(ours["failure_modes"])
    assert set(published.SYNTHETIC) == {"low", "mid", "high"}
    for methods in published.SYNTHETIC.values():
        for figures in methods.values():
            assert tuple(figures) == published.COLUMNS
            assert figures["Hit1"] <= figures["Hit5"] <= 1
    assert published.SYNTHETIC["low"]["SCCD (co-diffusion)"]["Hit5"] == 0.8217
