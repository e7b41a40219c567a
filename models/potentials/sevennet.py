"""SevenNet: weights inside the wheel ``sevenn``. They are read with pickle, so no other file is accepted."""

from __future__ import annotations

from pathlib import Path

from ase.calculators.calculator import Calculator

from models.potentials.packages import package_folder


def folder() -> Path:
    """Folder of the weights; `PotentialError` if the package is absent."""
    return package_folder("sevenn", "install it with the pinned constraints") / "pretrained_potentials"


def build(path: Path, device: str) -> Calculator:
    """Read weights into an ASE calculator: eV, eV/Å, eV/Å³ (Voigt)."""
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator(str(path), device=device)
