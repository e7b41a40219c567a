from dataclasses import replace

import numpy as np
import pytest
from images import linear_image, mos2, mos2_1t

from library.store import open_libraries
from models.records import Relaxation
from planning.confidence import features
from planning.records import Status
from planning.verify import verify
from reconstruction.reconstruct import reconstruct
from reconstruction.records import Candidates
from reconstruction.retrieval import retrieve


@pytest.fixture(scope="module")
def run():
    """A clear image of 1H-MoS2 with its elements given: micrograph, candidates, reconstruction."""
    micrograph, _ = linear_image(mos2(3.18), noise=0.3)
    micrograph = replace(micrograph, elements=("Mo", "S"))
    candidates = retrieve(micrograph, open_libraries())
    return micrograph, candidates, reconstruct(micrograph, candidates)


def relaxation(structure, **changes):
    record = Relaxation(
        structure=structure,
        potential="test",
        checkpoint="0" * 64,
        scale="PBE",
        energy_per_atom=-7.0,
        formation_energy_per_atom=-0.8,
        initial_energy_per_atom=-6.9,
        steps=5,
        converged=True,
        max_force=0.01,
        displacements=np.zeros(len(structure)),
        strain=np.zeros(3),
    )
    return replace(record, **changes)


def failed(verdict):
    return {check.name for check in verdict.checks if not check.passed}


def test_a_clear_image_is_accepted(run):
    micrograph, candidates, reconstruction = run
    verdict = verify(micrograph, candidates, reconstruction, relaxation(reconstruction.symmetrised))
    assert failed(verdict) == set()
    assert verdict.status is Status.ACCEPTED
    assert verdict.confidence > 0.9


def test_the_wrong_polytype_is_not(run):
    micrograph, candidates, _ = run
    wrong = [i for i, item in enumerate(candidates.items) if item.template.startswith("1T")]
    verdict = verify(micrograph, candidates, reconstruct(micrograph, candidates, wrong[0]), None)
    assert {"fit", "margin"} <= failed(verdict)
    assert verdict.status is not Status.ACCEPTED
    assert verdict.confidence < 0.5


def test_no_candidate_is_rejected(run):
    micrograph, candidates, _ = run
    verdict = verify(micrograph, Candidates((), candidates.lattice, 0.0, 5), None, None)
    assert verdict.status is Status.REJECTED
    assert failed(verdict) == {"template"}
    assert verdict.confidence == 0.0


def test_no_lattice_is_rejected(run):
    verdict = verify(run[0], Candidates((), None, 0.0, 5), None, None)
    assert verdict.status is Status.REJECTED
    assert "lattice" in failed(verdict)


def test_a_second_lattice_is_rejected(run):
    micrograph, candidates, reconstruction = run
    mixed = replace(candidates, lattice=replace(candidates.lattice, share=0.5))
    assert verify(micrograph, mixed, reconstruction, None).status is Status.REJECTED


def test_a_trace_of_a_second_lattice_makes_it_ambiguous(run):
    micrograph, candidates, reconstruction = run
    mixed = replace(candidates, lattice=replace(candidates.lattice, share=0.87))
    verdict = verify(micrograph, mixed, reconstruction, None)
    assert not failed(verdict)
    assert verdict.status is Status.AMBIGUOUS
    assert "13% of the reflected power" in verdict.reason


def test_a_close_runner_up_makes_it_ambiguous(run):
    micrograph, candidates, reconstruction = run
    verdict = verify(micrograph, replace(candidates, margin=1.0), reconstruction, None)
    assert failed(verdict) == {"margin"}
    assert verdict.status is Status.AMBIGUOUS


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"converged": False}, "relaxation"),
        ({"displacements": np.array([0.0, 0.9, 0.0])}, "displacement"),
        ({"strain": np.array([0.2, 0.0, 0.0])}, "relaxed_strain"),
        ({"formation_energy_per_atom": 1.4}, "energy"),
    ],
)
def test_an_unstable_crystal_is_not_accepted(run, changes, name):
    micrograph, candidates, reconstruction = run
    verdict = verify(micrograph, candidates, reconstruction, relaxation(reconstruction.symmetrised, **changes))
    assert failed(verdict) == {name}
    assert verdict.status is Status.AMBIGUOUS
    assert name in verdict.reason


def test_an_answer_against_the_given_elements_is_not_accepted(run):
    micrograph, candidates, reconstruction = run
    verdict = verify(replace(micrograph, elements=("Se", "W")), candidates, reconstruction, None)
    assert "elements" in failed(verdict)
    assert verdict.status is Status.AMBIGUOUS
    assert features(replace(micrograph, elements=("Se", "W")), candidates, reconstruction)["named"] == 0


def test_atoms_on_top_of_each_other_are_noticed(run):
    micrograph, candidates, reconstruction = run
    crowded = mos2_1t(1.1)
    verdict = verify(micrograph, candidates, replace(reconstruction, symmetrised=crowded), None)
    assert "distances" in failed(verdict)


def test_two_atoms_in_one_place_are_no_crystal(run):
    micrograph, candidates, reconstruction = run
    structure = reconstruction.symmetrised.copy()
    structure.translate_sites([0], structure.frac_coords[1] - structure.frac_coords[0] + [0.0, 0.0, 1e-3])
    verdict = verify(micrograph, candidates, replace(reconstruction, symmetrised=structure), None)
    assert verdict.status is Status.REJECTED
    assert "distances" in verdict.reason


def test_a_made_structure_does_not_beat_a_known_one_by_its_prior(run):
    """A known crystal seen through a scan that is off, and one that is made to fit as it is: the image decides."""
    micrograph, candidates, reconstruction = run
    known = candidates.items[0]
    made = replace(known, origin="substitution", log_prior=known.log_prior + 5.0)
    both = replace(candidates, items=(made, known), margin=5.0)
    verdict = verify(micrograph, both, replace(reconstruction, candidate=made), None)
    assert "margin" in failed(verdict)
    assert verdict.status is Status.AMBIGUOUS
    better = replace(made, log_likelihood=known.log_likelihood + 100.0)
    both = replace(candidates, items=(better, known), margin=20.0)
    assert "margin" not in failed(verify(micrograph, both, replace(reconstruction, candidate=better), None))
