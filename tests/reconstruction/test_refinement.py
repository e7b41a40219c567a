"""How freely the sites of a hypothesis move, and what that costs it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypotheses import hypothesis
from images import graphene, linear_image, mos2, oblique, tin_sulfide
from pymatgen.core import Structure

from reconstruction.distortion import SYMMETRY_TOLERANCE
from reconstruction.hypotheses import log_posterior
from reconstruction.measurement import measure
from reconstruction.operations import symmetric_moves
from reconstruction.refinement import SITE_PRIOR, refine_positions, with_sites_freed


def moved(structure: Structure, moves: list[tuple[float, float]]) -> Structure:
    """The slab with sites moved in the plane, Å along x and y."""
    steps = np.column_stack([moves, np.zeros(len(moves))])
    return Structure(structure.lattice, structure.species, structure.cart_coords + steps, coords_are_cartesian=True)


@pytest.mark.parametrize(
    ("structure", "free"), [(graphene(), 0), (mos2(), 0), (tin_sulfide(), 2), (oblique(), 6)], ids=str
)
def test_symmetry_leaves_so_many_moves(structure, free):
    moves = symmetric_moves(structure, SYMMETRY_TOLERANCE)
    assert moves.shape == (2 * len(structure), free)


def test_moves_keep_the_symmetry():
    structure = tin_sulfide()
    moves = symmetric_moves(structure, SYMMETRY_TOLERANCE)
    assert np.allclose(moves.reshape(4, 2, 2)[:, 1], 0)  # in the mirror plane: along a alone
    assert np.allclose(moves[0], -moves[2])  # inverted onto one another
    assert np.allclose(moves[4], -moves[6])


def refined(truth: Structure, taken_for: Structure, noise: float = 0.3):
    """A hypothesis as registered, and with its sites refined."""
    micrograph, _ = linear_image(truth, noise=noise)
    found = hypothesis(taken_for, micrograph)
    measurement = measure(micrograph, found.lattice)
    made = replace(found.items[0], origin="substitution")
    return made, with_sites_freed(made, measurement), measurement


def test_sites_that_are_right_stay():
    made, answer, _ = refined(mos2(), mos2())
    assert answer is made


def test_sites_move_as_symmetry_lets_them_where_that_is_enough():
    truth, known = tin_sulfide(), moved(tin_sulfide(), [(0.1, 0), (-0.1, 0), (0, 0), (0, 0)])
    made, answer, measurement = refined(truth, known)
    assert log_posterior(answer) > log_posterior(made)
    freely = refine_positions(made, measurement, SITE_PRIOR)
    cost = made.log_prior - answer.log_prior
    assert 0 < cost < freely.freedom / 2
    delta = answer.structure.frac_coords[:, :2] - truth.frac_coords[:, :2]
    delta -= delta.mean(axis=0)
    assert np.abs(delta * truth.lattice.abc[:2]).max() < 0.02
    assert np.ptp(delta[:, 1]) < 1e-6


def test_sites_move_freely_where_symmetry_does_not_explain_the_image():
    truth = moved(tin_sulfide(), [(0, 0.15), (0, 0.15), (0, 0), (0, 0)])
    made, answer, measurement = refined(truth, tin_sulfide())
    assert answer.log_likelihood == refine_positions(made, measurement, SITE_PRIOR).log_likelihood
    assert answer.log_likelihood > made.log_likelihood


def test_freedom_costs_more_the_better_the_image_is():
    costs = []
    for noise in (0.3, 3.0):
        made, _, measurement = refined(oblique(), oblique(), noise)
        costs.append(refine_positions(made, measurement, SITE_PRIOR).freedom)
    assert costs[0] > costs[1] > 0
