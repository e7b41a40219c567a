"""The first stage that could not lead to the truth is to blame."""

from dataclasses import replace

import fake_run
import numpy as np
import pytest
from monolayers import MONOLAYERS, layer
from pymatgen.core.structure import Structure

from benchmarks.attribution import Cause, attribute, contains
from benchmarks.metrics import score
from benchmarks.pipeline import Answer
from microscopy.slab import plane_cell

TRUTH = MONOLAYERS["MoS2 1H"][0]
CELL = plane_cell(TRUTH)


def answer(structure=TRUTH, lattice=CELL, relaxation=None):
    found = fake_run.candidates()
    image = None if lattice is None else replace(found.lattice, vectors=np.asarray(lattice, dtype=float))
    reconstruction = None if structure is None else replace(fake_run.reconstruction(), symmetrised=structure)
    return Answer(replace(found, lattice=image), reconstruction, relaxation, fake_run.verdict(), (), {}, {})


def cause(said, hit=None):
    verdict = score(said.reconstruction.symmetrised, TRUTH) if said.reconstruction else None
    return attribute(said, verdict, TRUTH, CELL, hit, calibrated=True)


def test_a_right_answer_has_no_cause():
    assert cause(answer()) is Cause.NONE


def test_no_lattice_or_another_one():
    assert cause(answer(None, None)) is Cause.LATTICE
    assert cause(answer(MONOLAYERS["graphene"][0], plane_cell(MONOLAYERS["graphene"][0]))) is Cause.LATTICE


def test_a_finer_lattice_of_the_projection_is_no_error():
    assert cause(answer(lattice=np.array([[0.5, 0.0], [0.0, 1.0]]) @ CELL)) is Cause.NONE


def test_other_elements_in_the_same_places():
    other = TRUTH.copy()
    other.replace_species({"Mo": "W", "S": "Se"})
    assert cause(answer(other)) is Cause.SPECIES


def test_another_structure_type_is_blamed_on_retrieval_unless_the_truth_was_at_hand():
    a = 3.18
    other = layer(a, a, 120, [("W", 0, 0, 0), ("W", 0.5, 0.5, 0)])
    assert cause(answer(other)) is Cause.RETRIEVAL
    assert cause(answer(other), hit=2) is Cause.RANKING
    assert cause(answer(None)) is Cause.RETRIEVAL


def test_right_cell_wrong_places():
    assert cause(answer(MONOLAYERS["MoS2 1T"][0])) is Cause.POSITION


def test_right_in_projection_only():
    frac = TRUTH.frac_coords.copy()
    frac[1:, 2] = 0.5 + (frac[1:, 2] - 0.5) * 0.1
    assert cause(answer(Structure(TRUTH.lattice, TRUTH.species, frac))) is Cause.HEIGHT


@pytest.mark.parametrize(("converged", "structure"), [(False, TRUTH), (True, MONOLAYERS["MoS2 1T"][0])])
def test_a_relaxation_that_leaves_the_crystal(converged, structure):
    relaxation = replace(fake_run.relaxation(), structure=structure, converged=converged)
    assert cause(answer(relaxation=relaxation)) is Cause.RELAXATION


def test_a_relaxation_that_stays_is_right():
    relaxation = replace(fake_run.relaxation(), structure=TRUTH, converged=True)
    assert cause(answer(relaxation=relaxation)) is Cause.NONE


@pytest.mark.parametrize(
    ("rows", "inside"),
    [([[1, 0], [0, 1]], True), ([[2, 1], [-1, 3]], True), ([[1.2, 0], [0, 1]], False), ([[7, 0], [0, 7]], False)],
)
def test_a_cell_is_one_of_the_lattice(rows, inside):
    lattice = np.array([[3.0, 0.2], [-1.0, 4.0]])
    assert contains(lattice, np.array(rows) @ lattice) is inside
