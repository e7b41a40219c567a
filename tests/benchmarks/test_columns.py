from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import graphene, layer, mos2, oblique, tin_sulfide, turn

from benchmarks.columns import (
    EDGE,
    RESOLVED,
    fitted_lattice,
    projected_columns,
    score_columns,
    separation,
    tiled,
    true_columns,
)
from microscopy.simulation import SimulationOptions, Truth
from microscopy.slab import plane_cell

SHAPE, PIXEL = (200, 260), (0.12, 0.1)
EXTENT = (259 * 0.1, 199 * 0.12)
STRUCTURES = {"graphene": graphene(), "MoS2": mos2(), "SnS": tin_sulfide(), "oblique": oblique()}


def truth_of(structure, matrix=None, origin=(1.3, 2.1)) -> Truth:
    return Truth(structure, turn(17.0) if matrix is None else matrix, np.array(origin), SimulationOptions())


def everywhere(truth: Truth) -> np.ndarray:
    return tiled(true_columns(truth), truth.cell, EXTENT).positions


def score(found, truth):
    return score_columns(found, truth, SHAPE, PIXEL)


@given(
    name=st.sampled_from(sorted(STRUCTURES)),
    degrees=st.floats(0, 360),
    mirror=st.booleans(),
    origin=st.tuples(st.floats(-20, 20), st.floats(-20, 20)),
)
@settings(max_examples=25, deadline=None)
def test_exact_positions_have_no_error(name, degrees, mirror, origin) -> None:
    matrix = turn(degrees) @ np.diag([-1.0 if mirror else 1.0, 1.0])
    truth = truth_of(STRUCTURES[name], matrix, origin)
    found = score(everywhere(truth), truth)
    assert (found.recall, found.precision) == (1.0, 1.0)
    assert found.rms_error == pytest.approx(0, abs=1e-9)
    assert found.lattice_error == pytest.approx(0, abs=1e-9)
    assert found.angle_error == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", sorted(STRUCTURES))
def test_the_order_of_positions_means_nothing(name) -> None:
    truth = truth_of(STRUCTURES[name])
    found = everywhere(truth) + 0.01
    shuffled = np.random.default_rng(1).permutation(found)
    first, second = score(found, truth), score(shuffled, truth)
    assert first.recall == second.recall == 1.0
    assert first.rms_error == pytest.approx(0.01 * np.sqrt(2)) == pytest.approx(second.rms_error)


@given(shear=st.floats(-0.004, 0.004), stretch=st.floats(-0.004, 0.004))
@settings(max_examples=20, deadline=None)
def test_a_known_distortion_is_reported_as_such(shear, stretch) -> None:
    truth = truth_of(tin_sulfide())
    distortion = np.array([[1 + stretch, shear], [0, 1]])
    centre = np.array(EXTENT) / 2
    found = score((everywhere(truth) - centre) @ distortion.T + centre, truth)
    cell = truth.cell @ distortion.T
    lengths = np.linalg.norm(cell, axis=1)
    assert found.recall == 1.0
    assert found.lattice_error == pytest.approx(
        np.abs(lengths / np.linalg.norm(truth.cell, axis=1) - 1).max(), abs=1e-9
    )
    angle = np.rad2deg(np.arccos(cell[0] @ cell[1] / np.prod(lengths)))
    assert found.angle_error == pytest.approx(abs(angle - 90), abs=1e-6)


def test_noise_on_positions_is_the_error() -> None:
    truth = truth_of(mos2())
    exact = everywhere(truth)
    found = score(exact + np.random.default_rng(3).normal(scale=0.05, size=exact.shape), truth)
    assert found.rms_error == pytest.approx(0.05 * np.sqrt(2), rel=0.1)
    assert found.median_error == pytest.approx(0.05 * np.sqrt(2 * np.log(2)), rel=0.15)


@pytest.mark.parametrize("name", sorted(STRUCTURES))
def test_random_positions_find_little_and_place_it_badly(name) -> None:
    truth = truth_of(STRUCTURES[name])
    count = 2 * len(everywhere(truth))
    found = score(np.random.default_rng(0).uniform(size=(count, 2)) * EXTENT, truth)
    assert 0 < found.recall < 0.6
    assert found.precision < 0.4
    assert found.median_error > 0.2


def test_missing_and_invented_columns_are_told_apart() -> None:
    truth = truth_of(mos2())
    exact = everywhere(truth)
    half = score(exact[::2], truth)
    assert half.recall == pytest.approx(0.5, abs=0.1)
    assert half.precision == 1.0
    hollow = exact + (true_columns(truth)[0] - true_columns(truth)[1])  # half of these are columns, half are hollows
    more = score(np.vstack([exact, hollow]), truth)
    assert more.recall == 1.0
    assert more.precision == pytest.approx(0.5, abs=0.1)


def test_a_column_found_twice_counts_once() -> None:
    truth = truth_of(mos2())
    exact = everywhere(truth)
    twice = score(np.vstack([exact, exact + 0.02]), truth)
    assert twice.recall == 1.0
    assert twice.precision == pytest.approx(0.5, abs=0.02)
    assert twice.rms_error == pytest.approx(0, abs=1e-9)


def test_the_edges_are_not_judged() -> None:
    truth = truth_of(graphene())
    exact = everywhere(truth)
    inner = exact[((exact > 0.8 * EDGE) & (exact < np.array(EXTENT) - 0.8 * EDGE)).all(axis=1)]
    outside = np.random.default_rng(0).uniform(size=(50, 2)) * (EXTENT[0], 0.9 * EDGE)
    found = score(np.vstack([inner, outside]), truth)
    assert (found.recall, found.precision) == (1.0, 1.0)


def test_nothing_found_is_no_error() -> None:
    found = score(np.zeros((0, 2)), truth_of(mos2()))
    assert found.recall == 0.0
    assert found.precision is None
    assert found.median_error is found.lattice_error is found.angle_error is None


def test_one_row_of_columns_spans_no_lattice() -> None:
    truth = truth_of(mos2())
    all_columns = tiled(true_columns(truth), truth.cell, EXTENT)
    row = (all_columns.indices[:, 1] == all_columns.indices[0, 1]) & (all_columns.members == 0)
    assert fitted_lattice(all_columns.positions[row], all_columns.indices[row], all_columns.members[row]) is None


def test_sites_that_no_probe_separates_are_one_column_at_their_weighted_mean() -> None:
    # The pair lies across the border of the cell.
    pair = layer(5.0, 6.0, 90, ["Mo", "S", "Se"], [(0.98, 0.5, 0), (0.02, 0.5, 1.0), (0.5, 0.5, 0)])
    cell = plane_cell(pair)
    columns = projected_columns(pair.frac_coords[:, :2] @ cell, np.array([3.0, 1.0, 1.0]), cell)
    assert len(columns) == 2
    fractions = np.sort((columns @ np.linalg.inv(cell))[:, 0] % 1)
    assert fractions == pytest.approx([0.5, 0.99])
    apart = layer(5.0, 6.0, 90, ["Mo", "S"], [(0.0, 0.5, 0), (1.1 * RESOLVED / 5, 0.5, 1.0)])
    assert len(projected_columns(apart.frac_coords[:, :2] @ cell, np.ones(2), cell)) == 2


def test_stacked_sulphur_is_one_column() -> None:
    assert len(true_columns(truth_of(mos2()))) == 2


@pytest.mark.parametrize(("structure", "expected"), [(graphene(), 2.46 / np.sqrt(3)), (mos2(), 3.16 / np.sqrt(3))])
def test_the_separation_is_the_bond_seen_from_above(structure, expected) -> None:
    truth = truth_of(structure)
    assert separation(true_columns(truth), truth.cell) == pytest.approx(expected, abs=1e-6)


def test_a_single_column_is_a_lattice_vector_from_its_image() -> None:
    assert separation(np.array([[0.3, 0.4]]), np.array([[3.0, 0.0], [1.0, 4.0]])) == pytest.approx(3.0)
