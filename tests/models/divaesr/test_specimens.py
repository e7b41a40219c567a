from __future__ import annotations

import numpy as np
import pytest
import torch
from images import mos2

from models.divaesr import specimens
from models.divaesr.bank import CrystalBank
from models.divaesr.crystals import bank_of
from models.divaesr.specimens import MARGIN, Specimens

SIDE = 20.0


def draw(bank: CrystalBank, count: int = 24, seed: int = 0) -> specimens.Atoms:
    cpu = torch.device("cpu")
    return Specimens(bank, cpu).draw(count, SIDE, torch.Generator(cpu).manual_seed(seed))


@pytest.fixture
def _perfect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(specimens, "SHARES", dict.fromkeys(specimens.SHARES, 0.0))
    for name in ("DEFECTIVE", "SUBSTITUTED", "STRAINED", "SMALL_STRAIN"):
        monkeypatch.setattr(specimens, name, 0.0)


def test_the_same_seed_gives_the_same_atoms(bank: CrystalBank) -> None:
    one, other, another = draw(bank), draw(bank), draw(bank, seed=1)
    torch.testing.assert_close(one.positions, other.positions, atol=0, rtol=0)
    assert torch.equal(one.numbers, other.numbers)
    assert one.positions.shape != another.positions.shape or not torch.equal(one.positions, another.positions)


def test_atoms_lie_in_the_field_of_view_and_its_margin(bank: CrystalBank) -> None:
    atoms = draw(bank)
    assert float(atoms.positions.min()) >= -MARGIN
    assert float(atoms.positions.max()) <= SIDE + MARGIN
    assert int(atoms.numbers.min()) > 0
    assert int(atoms.numbers.max()) < 120


@pytest.mark.usefixtures("_perfect")
def test_a_perfect_crystal_has_its_density_and_distances() -> None:
    atoms = draw(bank_of([mos2()], random=0, seed=0), 6)
    counts = torch.bincount(atoms.image, minlength=6).double()
    area = 3.16**2 * np.sqrt(3) / 2
    expected = 3 * (SIDE + 2 * MARGIN) ** 2 / area
    np.testing.assert_allclose(counts, expected, rtol=0.05)
    for image in range(6):
        metal = atoms.positions[(atoms.image == image) & (atoms.numbers == 42)]
        distance = torch.cdist(metal, metal) + 100 * torch.eye(len(metal))
        assert float(distance.min()) == pytest.approx(3.16, abs=1e-3)
    assert atoms.patterns.tolist() == [3] * 6
    assert len(atoms.defects[0]) == 0


@pytest.mark.usefixtures("_perfect")
def test_missing_atoms_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    bank = bank_of([mos2()], random=0, seed=0)
    whole = draw(bank, 4)
    monkeypatch.setattr(specimens, "DEFECTIVE", 1.0)
    monkeypatch.setattr(specimens, "DEFECT_RATES", (0.1, 0.1001))
    damaged = draw(bank, 4)
    share = len(damaged.defects[0]) / len(whole.numbers)
    assert share == pytest.approx(0.1, abs=0.03)
    missing = len(whole.numbers) - len(damaged.numbers)
    assert missing == pytest.approx(0.7 * len(damaged.defects[0]), rel=0.25)
    # Every defect lies where an atom of the whole crystal does.
    for image, place in zip(*damaged.defects, strict=True):
        assert float((whole.positions[whole.image == image] - place).norm(dim=1).min()) < 1e-4


@pytest.mark.parametrize(("name", "pattern"), [("amorphous", 4), ("empty", 4), ("edge", -1), ("boundary", -1)])
def test_imperfect_specimens_say_no_family(
    bank: CrystalBank, monkeypatch: pytest.MonkeyPatch, name: str, pattern: int
) -> None:
    monkeypatch.setattr(specimens, "SHARES", {each: float(each == name) for each in specimens.SHARES})
    atoms = draw(bank, 8)
    assert atoms.patterns.tolist() == [pattern] * 8
    assert (len(atoms.image) == 0) == (name == "empty")
