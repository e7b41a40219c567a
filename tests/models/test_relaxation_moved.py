from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from microscopy.slab import slab
from models.relaxation.moved import POSITION_FLOOR, STRAIN_FLOOR, moved


def disulphide(a: float = 3.18) -> Structure:
    sites = [[1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.56], [2 / 3, 1 / 3, 0.44]]
    return slab(Structure(Lattice.from_parameters(a, a, 25, 90, 90, 120, vesta=True), ["Mo", "S", "S"], sites))


def phosphorene(y: float = 0.08, a: float = 3.3, b: float = 4.6) -> Structure:
    sites = [[0.0, y, 0.447], [0.5, 0.5 - y, 0.447], [0.5, 0.5 + y, 0.553], [0.0, 1 - y, 0.553]]
    return slab(Structure(Lattice.from_parameters(a, b, 20, 90, 90, 90, vesta=True), ["P"] * 4, sites))


def oblique(shift: tuple[float, float] = (0.0, 0.0), a: float = 4.1, b: float = 5.3, gamma: float = 101) -> Structure:
    lattice = Lattice.from_parameters(a, b, 20, 90, 90, gamma, vesta=True)
    sites = np.array([[0.03, 0.05, 0.5], [0.52, 0.44, 0.56], [0.41, 0.01, 0.45]])
    structure = slab(Structure(lattice, ["Ga", "S", "Se"], sites))
    structure.translate_sites([1], [*shift, 0], frac_coords=False, to_unit_cell=False)
    return structure


NONE = np.zeros(3)


@pytest.mark.parametrize(
    ("structure", "positions", "lattice", "free"),
    [(disulphide(), 0, 1, 1), (phosphorene(), 1, 2, 3), (oblique(), 6, 3, 7)],
    ids=["hexagonal", "rectangular", "oblique"],
)
def test_counts_what_symmetry_leaves_free(structure: Structure, positions: int, lattice: int, free: int) -> None:
    found = moved(structure, structure, np.zeros(len(structure)), NONE)
    assert (len(found.coordinates), len(found.strains), found.free) == (positions, lattice, free)
    assert found.chi2 == pytest.approx(0, abs=1e-12)


def test_a_free_coordinate_that_moves_by_its_error_has_chi2_one() -> None:
    error = 0.04
    sigma = np.hypot(error / np.sqrt(4), POSITION_FLOOR)  # four sites of one orbit measure one coordinate
    found = moved(phosphorene(), phosphorene(0.08 + sigma / 4.6), np.full(4, error), NONE)
    assert np.abs(found.coordinates) == pytest.approx([sigma])
    assert found.chi2 == pytest.approx(1.0, rel=1e-6)
    assert found.chi2_per_coordinate == pytest.approx(1 / 3)
    assert np.linalg.norm(found.displacements, axis=1) == pytest.approx(np.full(4, sigma))
    assert found.scores == pytest.approx(sigma / np.sqrt(2 * error**2 + 2 * POSITION_FLOOR**2))


def test_an_isotropic_strain_of_a_hexagonal_cell_counts_once() -> None:
    error = 0.03
    found = moved(disulphide(3.0), disulphide(3.06), np.zeros(3), np.array([error, error, 0.2]))
    # e = √2 × 2 %; a and b measure it twice over, gamma not at all.
    assert np.abs(found.strains) == pytest.approx([0.02 * np.sqrt(2)], rel=1e-6)
    assert found.strain == pytest.approx([0.02, 0.02, 0.0], abs=1e-9)
    assert found.strain_scores[0] == pytest.approx(0.02 / np.hypot(0.01, STRAIN_FLOOR), rel=1e-6)
    assert found.chi2 > 1


def test_strains_are_those_of_the_cells() -> None:
    found = moved(oblique(), oblique(a=4.1 * 1.001, b=5.3 * 0.999, gamma=101.05), np.zeros(3), NONE)
    start, end = (s.lattice.matrix[:2, :2] for s in (oblique(), oblique(a=4.1 * 1.001, b=5.3 * 0.999, gamma=101.05)))
    gradient = np.linalg.solve(start, end)
    expected = (gradient @ gradient.T - np.eye(2)) / 2
    assert np.linalg.norm(found.strains) == pytest.approx(np.linalg.norm(expected), rel=0.01)


def test_what_one_site_moves_is_not_blamed_on_a_translation() -> None:
    found = moved(oblique(), oblique((0.3, 0.0)), np.full(3, 0.01), NONE)
    assert found.scores.argmax() == 1
    # Relative to the two others it has moved by 0.3 Å: the best translation leaves 2/3 of the square.
    assert found.chi2 == pytest.approx(0.3**2 * 2 / 3 / (0.01**2 + POSITION_FLOOR**2), rel=1e-6)
    assert found.chi2_per_coordinate > 3


def test_a_rigid_translation_is_no_move() -> None:
    shifted = oblique()
    shifted.translate_sites([0, 1, 2], [0.2, -0.1, 0], frac_coords=False, to_unit_cell=False)
    found = moved(oblique(), shifted, np.array([0.01, 0.02, 0.05]), NONE)
    assert found.chi2 == pytest.approx(0, abs=1e-9)
    assert np.allclose(found.displacements, 0)


def test_a_site_measured_badly_weighs_less() -> None:
    good, bad = (moved(oblique(), oblique((0.1, 0.0)), np.array([0.01, e, 0.01]), NONE).chi2 for e in (0.01, 0.2))
    assert bad < good / 5


def test_errors_may_differ_along_x_and_y() -> None:
    errors = np.full((3, 2), 0.01)
    errors[:, 0] = 0.3
    along_x, along_y = (moved(oblique(), oblique(s), errors, NONE).chi2 for s in ((0.1, 0.0), (0.0, 0.1)))
    assert along_x < along_y / 20


def test_the_frame_does_not_matter() -> None:
    """The expected χ² is that of the same slab with a and b exchanged."""
    first = moved(phosphorene(), phosphorene(0.1, 3.35, 4.5), np.full(4, 0.02), np.array([0.02, 0.05, 0.3]))

    def exchanged(s: Structure) -> Structure:
        lattice = Lattice.from_parameters(s.lattice.b, s.lattice.a, s.lattice.c, 90, 90, 90, vesta=True)
        return Structure(lattice, s.species, s.frac_coords[:, [1, 0, 2]])

    second = moved(
        exchanged(phosphorene()),
        exchanged(phosphorene(0.1, 3.35, 4.5)),
        np.full(4, 0.02),
        np.array([0.05, 0.02, 0.3]),
    )
    assert second.chi2 == pytest.approx(first.chi2, rel=1e-6)
    assert second.free == first.free
