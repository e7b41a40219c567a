"""Splitting a deformation between crystal and scan."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import mos2, oblique, tin_sulfide, turn

from microscopy.slab import plane_cell
from reconstruction.distortion import GUESS, OFF, deformation, split

MIRROR = np.diag([-1.0, 1.0])


def shear(amount: float) -> np.ndarray:
    """Shift of x by ``amount`` times y, acting on rows."""
    return np.array([[1.0, 0.0], [amount, 1.0]])


@given(angle=st.floats(0, 360), mirror=st.booleans())
def test_a_cell_that_only_lies_otherwise_is_not_deformed(angle: float, mirror: bool) -> None:
    cell = plane_cell(tin_sulfide()) @ (MIRROR if mirror else np.eye(2)) @ turn(angle)
    found = split(tin_sulfide(), cell)
    np.testing.assert_allclose(found.crystal, cell, atol=1e-9)
    assert found.scale == pytest.approx(1.0)
    assert found.shear == pytest.approx(0.0, abs=1e-9)
    assert found.off < 0.01
    # The best there is: a perfect match of one of the scans that are calibrated.
    assert found.log_prior == pytest.approx(np.log(1 - OFF), abs=0.01)


@pytest.mark.parametrize("structure", [mos2(), tin_sulfide(), oblique()], ids=["hexagonal", "rectangular", "oblique"])
@pytest.mark.parametrize("amount", [0.08, 0.2, -0.2])
def test_a_sheared_scan_is_taken_out_whole(structure, amount: float) -> None:
    lying = plane_cell(structure) @ turn(31)
    found = split(structure, lying @ shear(amount) * 1.06)
    assert found.off > 0.9
    assert found.scale == pytest.approx(1.06, rel=1e-6)
    stretches = np.linalg.svd(shear(amount), compute_uv=False)
    assert found.shear == pytest.approx(stretches[0] / stretches[1] - 1, rel=1e-6)
    # A small share of a large deformation may still be the crystal's.
    assert deformation(plane_cell(structure), found.crystal) < 0.004


def test_a_slightly_larger_cell_is_believed_to_be_the_crystals() -> None:
    cell = plane_cell(mos2()) * 1.012
    found = split(mos2(), cell)
    assert found.off < 0.5
    np.testing.assert_allclose(found.crystal, cell, atol=1e-9)


def test_the_crystal_keeps_its_symmetry() -> None:
    """One percent along one axis cannot be a hexagonal crystal's: its size may change, its shape may not."""
    found = split(mos2(), plane_cell(mos2()) @ np.diag([1.01, 1.0]))
    lengths = np.linalg.norm(found.crystal, axis=1)
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-9)
    assert found.crystal[0] @ found.crystal[1] == pytest.approx(-0.5 * lengths[0] ** 2, rel=1e-9)


def test_an_uncertain_lattice_says_less() -> None:
    cell = plane_cell(mos2()) @ np.diag([1.01, 1.0])
    assert split(mos2(), cell, error=0.01).log_prior > split(mos2(), cell).log_prior


def test_a_guessed_cell_gives_way_to_the_measured_one() -> None:
    cell = plane_cell(mos2()) @ np.diag([1.05, 1.0])
    assert deformation(split(mos2(), cell, prior=GUESS).crystal, cell) < 0.001


@given(first=st.floats(0, 0.1), more=st.floats(0.001, 0.1))
def test_a_larger_deformation_is_less_likely(first: float, more: float) -> None:
    def prior(size: float) -> float:
        return split(mos2(), plane_cell(mos2()) * (1 + size)).log_prior

    assert prior(first + more) < prior(first)
