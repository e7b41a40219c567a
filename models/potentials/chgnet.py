"""CHGNet, optional: weights inside the wheel ``chgnet``. They are read with pickle, so no other file is accepted."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path

from ase.calculators.calculator import Calculator

from models.potentials.packages import package_folder


def folder() -> Path:
    """Folder of the weights; `PotentialError` if the package is absent."""
    return package_folder("chgnet", "it is optional: pip install -c constraints.txt chgnet") / "pretrained"


def build(path: Path, device: str) -> Calculator:
    """Read weights into an ASE calculator: eV, eV/Å, eV/Å³ (3 × 3)."""
    from chgnet.model import CHGNet, CHGNetCalculator

    with redirect_stdout(io.StringIO()):  # it prints its device where answers go
        # The bias is what CHGNet.load gives version 0.3.0.
        network = CHGNet.from_file(str(path), mlp_out_bias=False, version="0.3.0")
        return CHGNetCalculator(network, use_device=device, on_isolated_atoms="ignore")
