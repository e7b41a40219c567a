from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from models.divaesr.bank import CrystalBank


def test_a_bank_survives_its_file(bank: CrystalBank, tmp_path: Path) -> None:
    bank.save(tmp_path / "bank.npz")
    again = CrystalBank.load(tmp_path / "bank.npz")
    for field in fields(CrystalBank):
        one, other = getattr(bank, field.name), getattr(again, field.name)
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_other_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", cells=np.zeros((1, 2, 2)))
    with pytest.raises(ValueError, match=r"other\.npz: not a bank of crystals, amplitudes, basis"):
        CrystalBank.load(tmp_path / "other.npz")


def test_nothing_is_unpickled(bank: CrystalBank, tmp_path: Path) -> None:
    content = {field.name: getattr(bank, field.name) for field in fields(CrystalBank)}
    np.savez(tmp_path / "bad.npz", **(content | {"cells": np.array([{"a": 1}], dtype=object)}))
    with pytest.raises(ValueError, match="allow_pickle"):
        CrystalBank.load(tmp_path / "bad.npz")
