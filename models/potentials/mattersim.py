"""MatterSim: weights in a file of their own, fetched once or made by the user."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ase.calculators.calculator import Calculator

from microscopy.errors import PotentialError
from models.potentials import registry

CHECKPOINT_VARIABLE = "AUTOMAT_MATTERSIM_CHECKPOINT"
"""Environment variable that names a MatterSim checkpoint file."""


def folder() -> Path:
    """MatterSim's own cache folder, which its other users share."""
    return Path.home() / ".local" / "mattersim" / "pretrained_models"


def checkpoint(name: str | None = None) -> Path | None:
    """Checkpoint named by the environment or in MatterSim's cache folder, or None; `name` limits which one.

    Raises
    ------
    PotentialError
        If the environment names a file that does not exist.
    """
    given = os.environ.get(CHECKPOINT_VARIABLE, "").strip()
    if given:
        path = Path(given).expanduser()
        if not path.is_file():
            raise PotentialError(f"{CHECKPOINT_VARIABLE}={given}: no such file; correct the variable or unset it")
        if name in (None, path.stem.lower()):
            return path
    files = [
        folder() / known.file for known in registry.KNOWN if known.family == "mattersim" and name in (None, known.name)
    ]
    return next((path for path in files if path.is_file()), None)


def read(path: Path) -> dict[str, Any]:
    """Read a checkpoint as tensors and plain values; no code in the file can run.

    Raises
    ------
    PotentialError
        If it holds no MatterSim model.
    """
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign or damaged file fails anywhere in the reader, with any type
        raise PotentialError(f"{path}: not a MatterSim checkpoint; torch cannot read it safely") from error
    if not isinstance(content, dict) or not {"model_name", "model_args", "model"} <= content.keys():
        raise PotentialError(f"{path}: not a MatterSim checkpoint; it has no model in it")
    return content


def build(path: Path, device: str) -> Calculator:
    """Read weights into an ASE calculator: eV, eV/Å, eV/Å³ (Voigt)."""
    content = read(path)

    from mattersim.forcefield import MatterSimCalculator
    from mattersim.utils.logger_utils import handlers

    _silence_console(handlers)
    network = MatterSimCalculator(load_path=str(path), device=device)
    # MatterSim loads with strict=False: a parameter absent from the file would keep its random start value.
    loaded = network.potential.model.state_dict()
    if loaded.keys() != content["model"].keys():
        odd = sorted(loaded.keys() ^ content["model"].keys())
        raise PotentialError(f"{path}: does not fit MatterSim's model ({len(odd)} parameters differ, as {odd[0]})")
    return network


def _silence_console(handlers: dict[str, int]) -> None:
    """Take away the log handler that MatterSim puts on stdout, where results go."""
    from loguru import logger

    if "console" in handlers:
        # The entry in `handlers` stays, so that MatterSim does not add another.
        with suppress(ValueError):
            logger.remove(handlers["console"])
