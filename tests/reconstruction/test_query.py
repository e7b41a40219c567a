"""Asking a library with an image whose scan is distorted."""

from dataclasses import replace

import numpy as np
import pytest
from images import linear_image, mos2, turn

from library.store import open_libraries
from reconstruction.lattice import find_lattice
from reconstruction.measurement import measure
from reconstruction.query import search, symmetric_metrics
from reconstruction.retrieval import RetrievalOptions, retrieve

SHEAR = np.array([[1.0, 0.15], [0.0, 1.0]])


@pytest.fixture(scope="module")
def library():
    return open_libraries()


def test_a_sheared_hexagonal_lattice_is_recognised() -> None:
    a = 3.2
    hexagonal = np.array([[a, 0], [-a / 2, a * np.sqrt(3) / 2]])
    vectors = hexagonal @ SHEAR.T
    found = symmetric_metrics(vectors, 0.15)
    shapes = [metric / np.sqrt(np.linalg.det(metric)) for metric in found]
    wanted = hexagonal @ hexagonal.T / np.linalg.det(hexagonal)
    assert any(np.allclose(shape, wanted, rtol=1e-9) for shape in shapes)
    for metric in found:
        assert np.linalg.det(metric) == pytest.approx(np.linalg.det(vectors) ** 2)


def test_nothing_beyond_the_strain_is_tried() -> None:
    assert not symmetric_metrics(np.array([[3.0, 0.0], [0.7, 4.0]]), 0.01)


@pytest.mark.parametrize("name", ["1H-MX2:Mo-S", "SnS:Sn-Se"])
def test_a_distorted_image_is_most_like_what_it_shows(library, name: str) -> None:
    structure = library.template(library.ids.index(name)).structure
    image, _ = linear_image(structure, matrix=1.05 * SHEAR @ turn(20), noise=0.4)
    lattice = find_lattice(image, 2.1)
    assert lattice is not None
    rows = library.rows()

    def score(strain: float) -> float:
        found, scores = search(measure(image, lattice), library, image.modality, strain, len(library), rows)
        return float(scores[[library.ids[row] for row in found].index(name)])

    assert score(0.2) > 0.9
    assert score(0.2) > score(0.04) + 0.05


def test_a_distorted_scan_is_found_and_said(library) -> None:
    image, _ = linear_image(mos2(3.18), matrix=1.05 * SHEAR @ turn(20), noise=0.4)
    best = retrieve(replace(image, elements=("Mo", "S")), library, RetrievalOptions(strain=0.2)).items[0]
    assert best.template.startswith("1H")
    assert best.scan_off > 0.99
    own = best.crystal @ best.crystal.T
    assert own[0, 0] == pytest.approx(own[1, 1], rel=1e-6)
    assert np.sqrt(own[0, 0]) == pytest.approx(3.18, rel=0.01)
