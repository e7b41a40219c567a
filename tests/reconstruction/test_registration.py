import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import linear_image, mos2, mos2_1t, oblique, tin_sulfide, turn

from microscopy.linear import transfer
from microscopy.micrograph import Modality
from microscopy.optics import Optics
from microscopy.slab import plane_cell
from reconstruction.alignment import align, alignments
from reconstruction.lattice import find_lattice
from reconstruction.measurement import hermite, measure
from reconstruction.registration import refine

MIRROR = np.diag([-1.0, 1.0])


def registered(structure, micrograph, strain=0.02):
    lattice = find_lattice(micrograph, 2.1)
    assert lattice is not None
    measurement = measure(micrograph, lattice)
    found = [refine(structure, alignment, measurement) for alignment in align(structure, measurement, strain)]
    return max(found, key=lambda r: r.log_likelihood)


def predicted_sites(structure, registration):
    return structure.frac_coords[:, :2] @ registration.cell + registration.shift


def distance_to_truth(structure, registration, cell, origin):
    """Largest distance in Å from a predicted site to the nearest true site of its element, periodically."""
    truth = structure.frac_coords[:, :2] @ cell + np.array(origin)
    worst = 0.0
    for site, position in zip(structure, predicted_sites(structure, registration), strict=True):
        same = [t for other, t in zip(structure, truth, strict=True) if other.specie == site.specie]
        delta = (position - np.array(same)) @ np.linalg.inv(cell)
        delta = (delta - np.round(delta)) @ cell
        worst = max(worst, float(np.linalg.norm(delta, axis=1).min()))
    return worst


@pytest.mark.parametrize("structure", [mos2(), mos2_1t(), tin_sulfide(), oblique()], ids=["1H", "1T", "SnS", "PdSeCl"])
@pytest.mark.parametrize("mirror", [False, True])
def test_recovers_origin_rotation_and_mirror(structure, mirror):
    matrix = turn(23) @ (MIRROR if mirror else np.eye(2))
    micrograph, cell = linear_image(structure, matrix=matrix, noise=0.5)
    found = registered(structure, micrograph)
    assert found.correlation > 0.995
    assert found.index == 1
    assert distance_to_truth(structure, found, cell, (1.3, 2.1)) < 0.02


def test_a_supercell_is_registered_on_the_lattice_of_its_projection():
    structure = mos2()
    structure.make_supercell([[2, 0, 0], [0, 1, 0], [0, 0, 1]])
    micrograph, _ = linear_image(structure)
    assert registered(structure, micrograph).index == 2


def test_the_detector_orientation_is_found():
    micrograph, _ = linear_image(tin_sulfide(), modality=Modality.IDPC, detector=30.0, noise=0.1)
    found = registered(tin_sulfide(), micrograph)
    assert found.rotation == pytest.approx(30.0, abs=7.5)


def test_the_wrong_polytype_fits_worse():
    micrograph, _ = linear_image(mos2(), noise=0.5)
    assert registered(mos2(), micrograph).log_likelihood > registered(mos2_1t(), micrograph).log_likelihood + 50


def test_no_alignment_beyond_the_strain():
    cell = plane_cell(mos2())
    assert len(alignments(cell * 1.05, cell, 0.03)) == 0
    # Twelve rotations and mirrors of a hexagonal lattice.
    assert len(alignments(cell * 1.02, cell, 0.03)) == 12


@given(st.tuples(*[st.integers(-6, 6)] * 4))
def test_hermite_names_the_superlattice(entries):
    n = np.array(entries).reshape(2, 2)
    determinant = round(abs(np.linalg.det(n)))
    if determinant == 0:
        return
    normal = hermite(n)
    assert round(np.linalg.det(normal)) == determinant
    unimodular = n @ np.linalg.inv(normal)
    assert np.abs(unimodular - np.round(unimodular)).max() < 1e-9
    changed = np.array([[1, 2], [0, -1]]) @ n
    assert np.array_equal(hermite(changed), normal)


def test_another_detector_is_no_other_crystal(monkeypatch):
    # An image of a first-moment detector, which the quadrant transfer function does not describe.
    import images

    monkeypatch.setattr(
        images,
        "transfer",
        lambda g, optics, rotation=None: transfer(g, Optics(Modality.HAADF)),
    )
    micrograph, _ = linear_image(mos2(), modality=Modality.IDPC, noise=0.3)
    found = registered(mos2(), micrograph)
    assert found.correlation > 0.999
    assert np.abs(found.transfer_terms).max() > 0.03
