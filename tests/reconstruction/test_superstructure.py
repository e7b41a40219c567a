from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from images import linear_image, mos2, mos2_1t
from pymatgen.core import Structure

from benchmarks.metrics import score
from library.folder import write
from library.records import Template
from library.store import Library
from microscopy.micrograph import Micrograph
from reconstruction.lattice import find_lattice
from reconstruction.measurement import Measurement, measure
from reconstruction.reconstruct import reconstruct
from reconstruction.records import ImageLattice
from reconstruction.retrieval import RetrievalOptions, retrieve
from reconstruction.spectrum import highest_frequency
from reconstruction.superstructure import SIGNIFICANT, enlarged, find_superstructure, superlattices


def chained(shift: float) -> Structure:
    """1T-MoS2 in a doubled rectangular-like cell, its metal atoms paired by ``shift`` Å: the way of 1T prime."""
    large = enlarged(mos2_1t(), np.array([[2, 0], [0, 1]]))
    coords = large.cart_coords.copy()
    metals = [i for i, site in enumerate(large) if site.specie.symbol == "Mo"]
    along = large.lattice.matrix[0] / large.lattice.a
    coords[metals[0]] += shift * along
    coords[metals[1]] -= shift * along
    return Structure(large.lattice, large.species, coords, coords_are_cartesian=True)


def measured(micrograph: Micrograph, cell: np.ndarray) -> Measurement:
    lattice = find_lattice(micrograph, highest_frequency(micrograph))
    assert lattice is not None
    return measure(micrograph, replace(lattice, vectors=cell))


def small_cell(micrograph: Micrograph, area: float) -> np.ndarray:
    """The lattice of the image, or that half of it which the undistorted crystal would have."""
    lattice = find_lattice(micrograph, highest_frequency(micrograph))
    assert isinstance(lattice, ImageLattice)
    assert abs(np.linalg.det(lattice.vectors)) == pytest.approx(area, rel=0.02)
    return lattice.vectors


def test_every_superlattice_comes_once() -> None:
    assert [len(list(superlattices(index))) for index in (1, 2, 3, 4)] == [1, 3, 4, 7]
    assert all(round(np.linalg.det(matrix)) == 4 for matrix in superlattices(4))


def test_an_enlarged_cell_is_the_same_crystal() -> None:
    large = enlarged(mos2(), np.array([[1, 1], [0, 3]]))
    assert len(large) == 9
    assert score(large, mos2()).success


@pytest.mark.parametrize("seed", range(3))
def test_a_perfect_crystal_has_no_superstructure(seed: int) -> None:
    micrograph, _ = linear_image(mos2(), shape=(300, 300), noise=0.5, seed=seed)
    cell = small_cell(micrograph, 3.16**2 * np.sqrt(3) / 2)
    found = find_superstructure(measured(micrograph, cell), cell)
    assert found is not None
    assert found.significance < SIGNIFICANT


def test_weak_reflections_of_a_larger_cell_are_found() -> None:
    true = chained(0.012)
    micrograph, _ = linear_image(true, shape=(300, 300), noise=0.5)
    lattice = find_lattice(micrograph, highest_frequency(micrograph))
    assert lattice is not None
    whole = abs(float(np.linalg.det(true.lattice.matrix[:2, :2])))
    index = round(whole / abs(float(np.linalg.det(lattice.vectors))))
    if index == 1:
        pytest.fail("the reflections are strong enough for the lattice itself: make the shift smaller")
    found = find_superstructure(measured(micrograph, lattice.vectors), lattice.vectors)
    assert found is not None
    assert found.significance > SIGNIFICANT
    assert round(np.linalg.det(found.matrix)) == 2


def test_a_field_of_view_of_few_cells_says_nothing_of_superstructures() -> None:
    micrograph, _ = linear_image(mos2(), shape=(80, 80), noise=0.1)
    cell = small_cell(micrograph, 3.16**2 * np.sqrt(3) / 2)
    assert find_superstructure(measured(micrograph, cell), 3 * cell) is None


def test_a_distorted_crystal_is_made_from_its_known_parent(tmp_path) -> None:
    write(tmp_path, [Template("1T", mos2_1t(), "MoS2", "test")], {}, {})
    library = Library.open(tmp_path)
    true = chained(0.25)
    micrograph, _ = linear_image(true, shape=(300, 300), noise=0.3)
    plain = retrieve(micrograph, library)
    assert not plain.items or plain.items[0].correlation < 0.97
    found = retrieve(micrograph, library, RetrievalOptions(supercells=True))
    assert found.items[0].template == "1T"
    assert len(found.items[0].structure) == 6
    crystal = reconstruct(micrograph, found)
    assert score(crystal.symmetrised, true).success
    assert crystal.chi2 < 1.5
