from dataclasses import replace

import numpy as np
import pytest
from hypotheses import hypothesis
from images import graphene, layer, linear_image, mos2, oblique, tin_sulfide, turn

from benchmarks.metrics import score
from microscopy.errors import ReconstructionError
from microscopy.slab import plane_cell
from reconstruction.reconstruct import calibration, reconstruct

ALL = {"1H-MoS2": (mos2(), 78), "graphene": (graphene(), 80), "SnS": (tin_sulfide(), None), "PdSeCl": (oblique(), 1)}


@pytest.mark.parametrize("name", sorted(ALL))
@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_the_crystal_comes_back(name, mirror):
    structure, group = ALL[name]
    micrograph, _ = linear_image(structure, matrix=turn(29) @ np.diag([1.0, mirror]), noise=0.5)
    found = reconstruct(micrograph, hypothesis(structure, micrograph))
    result = score(found.symmetrised, structure)
    assert result.success
    assert result.success_3d
    assert result.rmsd_projected < 0.03
    assert found.chi2 < 1.5
    if group is not None:
        assert found.layer_group == group
    assert found.scale == pytest.approx(1.0, abs=2e-3)
    assert found.shear < 5e-3
    assert not found.warnings
    likeness = np.corrcoef(found.cell_average.ravel(), found.cell_model.ravel())[0, 1]
    assert likeness > 0.98


def test_displaced_atoms_are_pulled_to_where_they_are():
    truth = oblique()
    template = truth.copy()
    template.translate_sites([0], [0.012, -0.01, 0])
    template.translate_sites([2], [-0.008, 0.007, 0])
    micrograph, _ = linear_image(truth, noise=0.5)
    before = score(template, truth).rmsd_projected
    found = reconstruct(micrograph, hypothesis(template, micrograph))
    after = score(found.structure, truth).rmsd_projected
    assert before > 0.03
    assert after < 0.4 * before


def test_position_errors_describe_the_scatter():
    truth = oblique()
    offsets, errors = [], []
    for seed in range(10):
        micrograph, _ = linear_image(truth, noise=3.0, seed=seed)
        found = reconstruct(micrograph, hypothesis(truth, micrograph))
        delta = found.structure.frac_coords[:, :2] - truth.frac_coords[:, :2]
        delta -= np.round(delta)
        offsets.append((delta - delta.mean(axis=0)) @ plane_cell(truth))
        errors.append(found.position_errors)
    spread = np.std(offsets, axis=0).mean(axis=1)
    assert np.all(spread < 2.5 * np.mean(errors, axis=0))
    assert np.all(spread > 0.05 * np.mean(errors, axis=0))


def test_a_distorted_scan_keeps_the_symmetry_of_the_hypothesis_and_is_reported():
    matrix = np.array([[1.03, 0.02], [0.0, 1.03]]) @ turn(10)
    micrograph, _ = linear_image(mos2(), matrix=matrix, noise=0.3)
    found = reconstruct(micrograph, hypothesis(mos2(), micrograph, strain=0.06))
    assert found.layer_group == 78
    assert found.a == pytest.approx(found.b, rel=1e-6)
    assert found.scale == pytest.approx(1.03, abs=0.003)
    assert found.shear == pytest.approx(0.02, abs=0.004)


def test_columns_are_found_without_the_model():
    micrograph, _ = linear_image(graphene(), noise=0.2)
    found = reconstruct(micrograph, hypothesis(graphene(), micrograph))
    assert len(found.columns) == 2
    sites = found.structure.frac_coords[:, :2]
    delta = found.columns[:, None, :] - sites[None, :, :]
    delta = (delta - np.round(delta)) @ plane_cell(found.structure)
    assert np.linalg.norm(delta, axis=2).min(axis=1).max() < 0.1


def test_calibration_of_a_pure_rotation():
    micrograph, _ = linear_image(tin_sulfide())
    item = hypothesis(tin_sulfide(), micrograph).items[0]
    stretched = replace(item, cell=item.cell @ turn(40).T * 1.07)
    scale, shear = calibration(stretched)
    assert scale == pytest.approx(1.07 * calibration(item)[0], rel=1e-9)
    assert shear == pytest.approx(calibration(item)[1], abs=1e-9)


def test_no_hypothesis_is_an_error():
    micrograph, _ = linear_image(graphene())
    with pytest.raises(ReconstructionError, match="rank 2"):
        reconstruct(micrograph, hypothesis(graphene(), micrograph), rank=1)


def test_a_double_layer_is_said_to_look_like_a_single_one():
    """GaSe: gallium over gallium, selenium over selenium."""
    sites = [(1 / 3, 2 / 3, 1.2), (1 / 3, 2 / 3, -1.2), (2 / 3, 1 / 3, 2.4), (2 / 3, 1 / 3, -2.4)]
    double = layer(3.75, 3.75, 120, ["Ga", "Ga", "Se", "Se"], sites)
    for structure, said in ((double, True), (mos2(), False)):
        micrograph, _ = linear_image(structure, noise=0.3)
        warnings = reconstruct(micrograph, hypothesis(structure, micrograph)).warnings
        assert any("every column holds 2 like atoms" in warning for warning in warnings) is said
