from dataclasses import replace

import numpy as np
import pytest
from ase.data import atomic_numbers
from images import graphene, layer, linear_image, mos2, oblique, tin_sulfide, turn

from benchmarks.metrics import score
from microscopy.micrograph import Modality
from microscopy.slab import plane_cell
from reconstruction.alignment import align
from reconstruction.assignment import assign
from reconstruction.deconvolution import deconvolve
from reconstruction.heights import _Bonds, charges, find_heights
from reconstruction.hypotheses import log_posterior
from reconstruction.lattice import find_lattice
from reconstruction.measurement import measure
from reconstruction.reconstruct import reconstruct
from reconstruction.records import Candidates
from reconstruction.registration import refine
from reconstruction.spectrum import highest_frequency
from reconstruction.template_free import build_free

MIRROR = np.diag([-1.0, 1.0])
WHOLE = np.eye(2, dtype=int)


def boron_nitride():
    return layer(2.51, 2.51, 120, ["B", "N"], [(1 / 3, 2 / 3, 0), (2 / 3, 1 / 3, 0)])


def tin_disulfide():
    return layer(3.68, 3.68, 120, ["Sn", "S", "S"], [(0, 0, 0), (1 / 3, 2 / 3, 1.48), (2 / 3, 1 / 3, -1.48)])


def iron_selenide():
    """Its projection repeats on half the cell: Se above and below Fe alternate."""
    sites = [(0, 0, 0), (0.5, 0.5, 0), (0, 0.5, 1.46), (0.5, 0, -1.46)]
    return layer(3.77, 3.77, 90, ["Fe", "Fe", "Se", "Se"], sites)


def seen(structure, known="formula", matrix=None, modality=Modality.IDPC, noise=0.1):
    micrograph, _ = linear_image(
        structure, modality=modality, matrix=matrix, noise=noise, detector=30.0, shape=(256, 288), pixel=0.14
    )
    composition = structure.composition
    given = (
        {"formula": composition.reduced_formula}
        if known == "formula"
        else {"elements": tuple(sorted(e.symbol for e in composition)) if known == "elements" else None}
    )
    micrograph = replace(micrograph, **given)
    lattice = find_lattice(micrograph, highest_frequency(micrograph))
    assert lattice is not None
    return micrograph, measure(micrograph, lattice)


@pytest.mark.parametrize("known", ["formula", "elements"])
@pytest.mark.parametrize(
    "structure", [graphene(), boron_nitride(), mos2(), tin_disulfide()], ids=["C", "BN", "1H-MoS2", "1T-SnS2"]
)
def test_common_layers_are_built_whole(structure, known):
    micrograph, measurement = seen(structure, known)
    best = build_free(micrograph, measurement)[0]
    assert best.structure.composition.reduced_formula == structure.composition.reduced_formula
    judged = score(best.structure, structure)
    assert judged.success
    assert judged.success_3d
    assert judged.rmsd_projected == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("structure", [tin_sulfide(), oblique(), iron_selenide()], ids=["SnS", "PdSeCl", "FeSe"])
@pytest.mark.parametrize("mirror", [False, True])
def test_projections_without_symmetry_are_built(structure, mirror):
    micrograph, measurement = seen(structure, matrix=turn(23) @ (MIRROR if mirror else np.eye(2)))
    assert score(build_free(micrograph, measurement)[0].structure, structure).success


def test_an_annular_detector_sees_the_same_crystal():
    micrograph, measurement = seen(mos2(), modality=Modality.HAADF, noise=0.3)
    assert score(build_free(micrograph, measurement)[0].structure, mos2()).success_3d


def test_contrast_of_unknown_sign_is_found():
    micrograph, _ = seen(mos2())
    inverted = replace(micrograph, image=-micrograph.image, modality=Modality.UNKNOWN)
    lattice = find_lattice(inverted, highest_frequency(inverted))
    best = build_free(inverted, measure(inverted, lattice))[0]
    assert best.amplitude < 0
    assert score(best.structure, mos2()).success


def test_an_image_without_columns_has_no_model():
    micrograph, measurement = seen(mos2())
    found = deconvolve(measurement, [16, 42], WHOLE)
    empty = replace(found, positions=np.zeros((0, 2)), strengths=np.zeros(0), widths=np.zeros((0, 2, 2)))
    assert assign(empty, [16, 42], None, micrograph.modality, 3) == []


def test_a_model_explains_the_image_as_well_as_the_true_template():
    micrograph, measurement = seen(tin_sulfide())
    best = build_free(micrograph, measurement)[0]
    template = max(
        refine(tin_sulfide(), alignment, measurement).log_likelihood
        for alignment in align(tin_sulfide(), measurement, 0.02)
    )
    assert best.log_likelihood > template - 10
    assert best.strain < 1e-3
    assert best.correlation > 0.99
    assert (best.origin, best.template, best.source) == ("free", "", "image")


def test_a_model_is_reconstructed_like_a_template():
    micrograph, measurement = seen(mos2())
    models = tuple(build_free(micrograph, measurement))
    answer = reconstruct(micrograph, Candidates(models, measurement.lattice, np.inf, 0))
    assert answer.layer_group == 78
    assert answer.candidate.origin == "free"


def test_the_prior_is_kept_beside_the_likelihood():
    micrograph, measurement = seen(tin_disulfide(), "elements")
    models = build_free(micrograph, measurement, keep=4)
    assert 1 < len(models) <= 4
    assert all(model.log_prior < 0 for model in models)
    merits = [log_posterior(model) for model in models]
    assert merits == sorted(merits, reverse=True)


def test_a_potential_chooses_between_heights():
    micrograph, measurement = seen(mos2())

    def thickness(slab):
        return -float(np.ptp(slab.cart_coords[:, 2])) * len(slab)

    best = build_free(micrograph, measurement, energy=thickness)
    same = [m for m in best if m.structure.composition == best[0].structure.composition]
    spreads = [np.ptp(m.structure.cart_coords[:, 2]) for m in same]
    assert spreads[0] == max(spreads)


def test_nothing_is_built_from_elements_nobody_named():
    micrograph, measurement = seen(mos2(), "nothing")
    assert build_free(micrograph, measurement) == []


def test_columns_are_found_where_they_are_with_their_strength():
    structure = oblique()
    micrograph, measurement = seen(structure)
    numbers = sorted(atomic_numbers[e.symbol] for e in structure.composition)
    found = deconvolve(measurement, numbers, WHOLE)
    assert len(found.strengths) == 3
    assert found.rotation == pytest.approx(30.0, abs=7.5)
    assert found.chi2 < 2
    best = assign(found, numbers, dict.fromkeys(numbers, 1), micrograph.modality, 1)[0]
    assert best.columns == ((46,), (34,), (17,))


def test_the_gradient_of_heights_is_that_of_their_energy():
    structure = oblique()
    bonds = _Bonds(structure.cart_coords[:, :2], plane_cell(structure), np.array(structure.atomic_numbers))
    z = np.random.default_rng(1).normal(size=(2, 3))
    _, gradient = bonds.energy(z)
    for site in range(3):
        step = np.eye(3)[site] * 1e-5
        slope = (bonds.energy(z + step)[0] - bonds.energy(z - step)[0]) / 2e-5
        assert gradient[:, site] == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_heights_do_not_depend_on_where_the_origin_is():
    structure = mos2()
    numbers = np.array(structure.atomic_numbers)
    cell = plane_cell(structure)
    plane = structure.cart_coords[:, :2]
    first, moved = (find_heights(p, cell, numbers, keep=1)[0] for p in (plane, plane + np.array([1.3, -0.4])))
    assert first.z == pytest.approx(moved.z, abs=1e-6)
    assert np.ptp(first.z) == pytest.approx(3.1, abs=0.5)


def test_charges_are_given_only_where_they_balance():
    assert charges([42, 16, 16]) == {42: 4.0, 16: -2.0}
    assert charges([15, 15]) == {15: 0.0}
    assert set(charges([19, 19, 35]).values()) == {0.0}
