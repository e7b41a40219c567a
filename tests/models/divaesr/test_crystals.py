from __future__ import annotations

import numpy as np
import pytest
from images import graphene, layer, mos2, oblique, tin_sulfide

from microscopy.linear import scattering
from microscopy.micrograph import Modality
from models.divaesr.bank import Q_MAX, CrystalBank
from models.divaesr.configuration import PATTERNS
from models.divaesr.crystals import CLOSEST, MAX_ATOMS, RANDOM_SHARE, bank_of


def square(a: float, b: float, gamma: float):
    return layer(a, b, gamma, ["C"], [(0.0, 0.0, 0.0)])


@pytest.mark.parametrize(
    ("structure", "family"),
    [
        (mos2(), "hexagonal"),
        (graphene(), "hexagonal"),
        (tin_sulfide(), "rectangular"),
        (oblique(), "oblique"),
        (square(3.8, 3.8, 90), "square"),
        (square(3.8, 3.8, 80), "rectangular"),  # a rhombus is a centred rectangle
        (square(3.0, 3.0 * np.sqrt(2), 45), "square"),  # the same lattice by other vectors
        (square(3.0, 3.0 * np.sqrt(3), 30), "hexagonal"),
        (square(3.0, np.hypot(1.5, 4.0), np.rad2deg(np.arctan2(4.0, 1.5))), "rectangular"),
    ],
)
def test_the_family_is_that_of_the_lattice(structure, family: str) -> None:
    bank = bank_of([structure], random=0, seed=0)
    assert PATTERNS[bank.patterns[0]] == family


def test_atoms_of_random_crystals_keep_their_distance(bank: CrystalBank) -> None:
    known = 4
    assert len(bank.cells) == 44
    for row in range(known, len(bank.cells)):
        points, cell = bank.fractions[row, : bank.counts[row]].astype(float), bank.cells[row].astype(float)
        offsets = points[:, None] - points[None, :]
        steps = np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)])
        distance = np.linalg.norm((offsets[:, :, None] + steps) @ cell, axis=-1).min(axis=-1)
        distance[np.diag_indices(len(points))] = np.inf
        assert distance.min() > CLOSEST * 0.999


def test_random_crystals_have_all_families_and_repeat_with_their_seed(bank: CrystalBank) -> None:
    assert set(bank.patterns[4:]) == {0, 1, 2, 3}
    one, other, another = (bank_of([mos2()], random=5, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.fractions, other.fractions)
    assert not np.array_equal(one.cells, another.cells)


def test_chances_are_shared(bank: CrystalBank) -> None:
    assert bank.chances.sum() == pytest.approx(1.0, abs=1e-5)
    assert bank.chances[4:].sum() == pytest.approx(RANDOM_SHARE, abs=1e-5)
    many = bank_of([mos2(3.1 + 0.02 * i) for i in range(9)] + [graphene()], random=0, seed=0)
    assert many.chances[9] == pytest.approx(3 * many.chances[0], rel=1e-4)


def test_atoms_are_those_of_the_structure(bank: CrystalBank) -> None:
    assert bank.counts[:4].tolist() == [3, 2, 4, 3]
    assert bank.numbers[0, :3].tolist() == [42, 16, 16]
    assert not bank.numbers[0, 3:].any()
    np.testing.assert_allclose(bank.fractions[0, :3], mos2().frac_coords[:, :2] % 1, atol=1e-6)


def test_few_functions_hold_the_scattering_of_all_elements(bank: CrystalBank) -> None:
    q = np.linspace(0, Q_MAX, bank.basis.shape[1])
    numbers = np.arange(3, 84)
    exact = scattering(numbers, q, Modality.IDPC)
    found = bank.amplitudes[numbers] @ bank.basis
    assert np.abs(found - exact).max() < 0.02 * exact.max()
    assert np.median(np.abs(found / exact - 1)[:, q < 2]) < 0.01


def test_large_cells_are_left_out() -> None:
    large = mos2() * (3, 3, 1)
    assert len(large) > MAX_ATOMS
    assert len(bank_of([large, graphene()], random=0, seed=0).cells) == 1
    with pytest.raises(ValueError, match=f"no structure of at most {MAX_ATOMS} atoms"):
        bank_of([large], random=3, seed=0)
