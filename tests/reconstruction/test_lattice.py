import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import graphene, linear_image, mos2, oblique, tin_sulfide, turn

from microscopy.micrograph import Micrograph, Modality
from reconstruction.lattice import find_lattice, gauss_reduce, sharpened
from reconstruction.records import ImageLattice
from reconstruction.second_lattice import relation

Q_MAX = 2.1


def index_of(cell, lattice):
    """How many cells of the found lattice one true cell holds; fails unless it is made of whole lattice vectors."""
    matrix = cell @ np.linalg.inv(lattice.vectors)
    assert np.abs(matrix - np.round(matrix)).max() < 0.02
    return round(abs(np.linalg.det(matrix)))


@pytest.mark.parametrize(
    "structure", [graphene(), mos2(), tin_sulfide(), oblique()], ids=["C", "MoS2", "SnS", "PdSeCl"]
)
@pytest.mark.parametrize("angle", [0.0, 17.0, 45.0])
def test_finds_the_lattice_of_a_noisy_image(structure, angle):
    micrograph, cell = linear_image(structure, matrix=turn(angle), noise=1.0)
    lattice = find_lattice(micrograph, Q_MAX)
    assert lattice is not None
    assert index_of(cell, lattice) == 1
    reduced = gauss_reduce(cell)[0]
    lengths = np.linalg.norm(lattice.vectors, axis=1)
    assert lengths == pytest.approx(np.linalg.norm(reduced, axis=1), rel=2e-3)
    assert lattice.share > 0.99
    assert not lattice.warnings


def test_standard_errors_describe_the_scatter():
    found, errors = [], []
    for seed in range(12):
        micrograph, cell = linear_image(mos2(), noise=2.0, seed=seed)
        lattice = find_lattice(micrograph, Q_MAX)
        assert lattice is not None
        found.append(abs(np.linalg.det(lattice.vectors)) / abs(np.linalg.det(cell)) - 1)
        errors.append(lattice.standard_errors.mean() / 3.16)
    assert np.std(found) < 6 * np.mean(errors)
    assert np.std(found) > 0.2 * np.mean(errors)


def test_a_centred_cell_gives_its_sublattice():
    structure = mos2()
    structure.make_supercell([[1, 0, 0], [1, 2, 0], [0, 0, 1]])
    micrograph, cell = linear_image(structure)
    lattice = find_lattice(micrograph, Q_MAX)
    assert lattice is not None
    assert index_of(cell, lattice) == 2


@pytest.mark.parametrize("seed", range(20))
def test_noise_has_no_lattice(seed):
    image = np.random.default_rng(seed).normal(size=(160, 224)).astype(np.float32)
    assert find_lattice(Micrograph(image, (0.12, 0.12), "", "noise"), Q_MAX) is None


def test_a_sheared_scan_is_measured_as_it_is():
    matrix = np.array([[1.05, 0.12], [0.0, 1.0]]) @ turn(8)
    micrograph, cell = linear_image(mos2(), matrix=matrix)
    lattice = find_lattice(micrograph, Q_MAX)
    assert lattice is not None
    assert index_of(cell, lattice) == 1


def test_two_grains_are_noticed():
    left, _ = linear_image(mos2(), shape=(256, 256), matrix=turn(3), noise=0.1)
    right, _ = linear_image(tin_sulfide(), shape=(256, 256), matrix=turn(24), noise=0.1)
    image = left.image.copy()
    image[:, 128:] = right.image[:, 128:] * left.image.std() / right.image.std()
    lattice = find_lattice(Micrograph(image, (0.16, 0.16), "", "grains", Modality.HAADF), Q_MAX)
    assert lattice is None or (lattice.share < 0.8 and "one lattice" in lattice.warnings[0])


@settings(max_examples=100, deadline=None)
@given(a=st.floats(1.5, 20), b=st.floats(1.5, 20), gamma=st.floats(25, 155), m=st.integers(-4, 4), swap=st.booleans())
def test_reduction_is_unique_and_keeps_the_area(a, b, gamma, m, swap):
    angle = np.deg2rad(gamma)
    cell = np.array([[a, 0], [b * np.cos(angle), b * np.sin(angle)]])
    other = np.array([[1, 0], [m, 1]]) @ cell
    other = other[::-1] if swap else other
    first, second = gauss_reduce(cell)[0], gauss_reduce(other)[0]
    assert np.linalg.norm(first, axis=1) == pytest.approx(np.linalg.norm(second, axis=1), rel=1e-6)
    assert np.linalg.det(first) == pytest.approx(abs(np.linalg.det(cell)), rel=1e-6)
    assert abs(first[0] @ first[1]) <= (first[0] @ first[0]) / 2 * (1 + 1e-9)


def side_by_side(first, second, noise=1.0):
    """Left half of one noise-free image, right half of another, and noise over both."""
    image = first.copy()
    middle = image.shape[1] // 2
    image[:, middle:] = second[:, middle:]
    return with_noise(image, noise)


def with_noise(image, noise=1.0):
    noisy = image + noise * np.random.default_rng(0).normal(size=image.shape)
    return Micrograph(noisy.astype(np.float32), (0.1, 0.1), "", "two", Modality.HAADF)


def clean(structure, matrix):
    image = linear_image(structure, shape=(512, 512), pixel=0.1, matrix=matrix, noise=0)[0].image
    return (image - image.mean()) / image.std()


@pytest.mark.parametrize("structure", [graphene(), mos2(), tin_sulfide()], ids=["C", "MoS2", "SnS"])
@pytest.mark.parametrize("angle", [12.0, 20.0])
@pytest.mark.parametrize("over", [False, True], ids=["grains", "layers"])
def test_the_rotation_of_a_second_lattice_is_told(structure, angle, over):
    first, second = clean(structure, turn(10)), clean(structure, turn(10 + angle))
    micrograph = with_noise(first + second) if over else side_by_side(first, second)
    lattice = find_lattice(micrograph, Q_MAX)
    assert lattice is not None
    assert lattice.share < 0.8
    told = float(re.search(r"turned by ([\d.]+)°", lattice.warnings[0]).group(1))
    assert told == pytest.approx(angle, abs=0.6)
    # It is the lattice of one of them, not the one on which both nearly coincide.
    cells = np.linalg.norm(lattice.vectors, axis=1)
    assert cells == pytest.approx(sorted(structure.lattice.abc[:2]), rel=0.01)


def test_the_misfit_of_a_second_lattice_is_told():
    micrograph = with_noise(clean(mos2(), turn(4)) + clean(mos2(), 1.1 * turn(4)))
    lattice = find_lattice(micrograph, Q_MAX)
    assert re.search(r"turned by 0.\d° from the first and (9|10)\.\d% larger", lattice.warnings[0])


@given(angle=st.floats(-29, 29), size=st.sampled_from([0.9, 1.0, 1.12]))
def test_a_relation_does_not_depend_on_the_choice_of_cells(angle, size):
    first = np.array([[3.16, 0.0], [-1.58, 2.7366]])
    second = np.array([[1, 1], [0, 1]]) @ first @ turn(angle).T * size
    said = relation(first, second)
    assert float(re.search(r"turned by ([\d.]+)°", said).group(1)) == pytest.approx(abs(angle), abs=0.051)
    assert ("larger" in said, "smaller" in said) == (size > 1, size < 1)


def test_another_crystal_is_described_by_its_cell():
    assert "4.09 × 4.33 Å, 90°" in relation(np.array([[3.16, 0], [-1.58, 2.7366]]), np.diag([4.09, 4.33]))


def noisy_lattice(seed: int, contrast: float) -> tuple[Micrograph, np.ndarray]:
    """Four cosines of a rectangular lattice in white noise of unit variance, 12.8 Å wide."""
    vectors = np.array([[3.1, 0.4], [-0.5, 3.9]])
    g = np.array([[1, 0], [0, 1], [1, 1], [1, -1]]) @ np.linalg.inv(vectors).T
    y, x = np.mgrid[:128, :128] * 0.1
    waves = sum(np.cos(2 * np.pi * (gx * x + gy * y) + k) for k, (gx, gy) in enumerate(g))
    image = contrast * waves + np.random.default_rng(seed).normal(size=(128, 128))
    return Micrograph(image.astype(np.float32), (0.1, 0.1), "0" * 64, "test.tif"), vectors


def proposal(vectors: np.ndarray) -> ImageLattice:
    return ImageLattice(vectors, np.full((2, 2), 0.05), 9.0, 8)


def test_a_proposed_lattice_is_refined_to_within_its_errors() -> None:
    pulls = []
    for seed in range(6):
        micrograph, true = noisy_lattice(seed, 0.25)
        found = sharpened(proposal(true + np.array([[0.03, -0.02], [0.02, 0.03]])), micrograph, 2.0)
        assert found is not None
        assert found.significance > 4.0
        pulls.append((found.vectors - true) / found.standard_errors)
    assert 0.3 < np.sqrt(np.mean(np.square(pulls))) < 1.3


def test_a_proposed_lattice_that_is_not_in_the_image_is_not_significant() -> None:
    for seed in range(6):
        micrograph, vectors = noisy_lattice(seed, 0.0)
        found = sharpened(proposal(vectors), micrograph, 2.0)
        assert found is not None
        assert found.significance < 4.0
