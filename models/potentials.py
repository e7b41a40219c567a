"""Interatomic potentials behind one seam: a name goes in, an ASE calculator comes out.

Two families are spoken: SevenNet (Park et al., J. Chem. Theory Comput. 20, 4857 (2024)), whose weights ship
inside the ``sevenn`` wheel, and MatterSim (Yang et al., arXiv:2405.04967), whose weights have to be on the
machine already: nothing is ever downloaded here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import chemical_symbols

from microscopy.errors import PotentialError

DEFAULT_EMBEDDED = "sevennet-0"
"""The potential used when MatterSim's weights are absent."""

CHECKPOINT_VARIABLE = "AUTOMAT_MATTERSIM_CHECKPOINT"
"""Environment variable that names a MatterSim checkpoint file."""

MP_ELEMENTS = frozenset(chemical_symbols[z] for z in range(1, 95) if not 84 <= z <= 88)
"""The 89 elements of the Materials Project's relaxations, on which both families were trained."""

Family = Literal["sevennet", "mattersim"]

_SEVENNET_FILES = {
    "sevennet-0": "SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth",
    "sevennet-l3i5": "SevenNet_l3i5/checkpoint_l3i5.pth",
}
_MATTERSIM_FILES = {
    "mattersim-v1.0.0-1m": "mattersim-v1.0.0-1M.pth",
    "mattersim-v1.0.0-5m": "mattersim-v1.0.0-5M.pth",
}
_ALIASES = {
    "sevennet": "sevennet-0",
    "7net-0": "sevennet-0",
    "7net-l3i5": "sevennet-l3i5",
    "mattersim-1m": "mattersim-v1.0.0-1m",
    "mattersim-5m": "mattersim-v1.0.0-5m",
}
_BUILDING = threading.Lock()
_SCALES: dict[Family, str] = {"sevennet": "PBE", "mattersim": "PBE (as published, not verified here)"}


def potential_names() -> tuple[str, ...]:
    """Names that `load_potential` understands, besides the path of a MatterSim checkpoint."""
    return (*_SEVENNET_FILES, *_MATTERSIM_FILES)


@dataclass(frozen=True)
class Potential:
    """An interatomic potential: what it is, and how to evaluate it.

    Light and picklable: the weights are read at the first call of `calculator` in a process.

    Attributes
    ----------
    name
        Canonical name, or ``mattersim:<file stem>`` for a checkpoint given by path.
    checkpoint
        sha256 of the weights file.
    scale
        The level of theory of its energies; energies of different scales must not be mixed.
    elements
        Symbols of the elements it was trained on.
    fallback
        Empty, or one sentence that says what was wanted and what is used instead.
    path, family, device
        Weights file, the code that reads it, and the torch device it runs on.
    """

    name: str
    checkpoint: str
    scale: str
    elements: frozenset[str] = field(repr=False)
    fallback: str
    path: Path
    family: Family
    device: str = "cpu"

    def calculator(self) -> Calculator:
        """Return an ASE calculator with results of its own over the process's one copy of the weights.

        Energies in eV, forces in eV/Å, stress in eV/Å³ (Voigt). Evaluation is serialised between threads.

        Raises
        ------
        PotentialError
            If the weights cannot be loaded; on evaluation, if an element is not covered or a result is not finite.
        """
        return _Shared(self)


class _Shared(Calculator):
    """ASE calculator that borrows the process's network for each evaluation.

    ASE calculators keep the last results in themselves, so one shared between threads would mix them up.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012 (as in ASE)

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential
        with _BUILDING:
            self._network, self._lock = _network(
                potential.family, potential.path, potential.device, potential.checkpoint
            )

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = tuple(all_changes)
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        if atoms is None or len(atoms) == 0:
            raise PotentialError(f"{self.potential.name}: there are no atoms to evaluate")
        formula = atoms.get_chemical_formula()
        unknown = sorted(set(atoms.symbols) - self.potential.elements)
        if unknown:
            raise PotentialError(
                f"{formula}: {self.potential.name} was not trained on {', '.join(unknown)}; skip the relaxation"
            )
        with self._lock:
            try:
                self._network.calculate(atoms, ["energy", "forces", "stress"], all_changes)
            except (RuntimeError, ValueError, IndexError) as error:
                raise PotentialError(f"{formula}: {self.potential.name} failed: {_one_line(error)}") from error
            found = self._network.results
            results: dict[str, Any] = {
                "energy": float(found["energy"]),
                "forces": np.array(found["forces"], dtype=float),
                "stress": np.array(found["stress"], dtype=float),
            }
        if not all(np.all(np.isfinite(value)) for value in results.values()):
            raise PotentialError(f"{formula}: {self.potential.name} gives energies or forces that are not finite")
        self.results = {**results, "free_energy": results["energy"]}


def load_potential(name: str | None = None, device: str = "cpu") -> Potential:
    """Find a potential by name or by path.

    Parameters
    ----------
    name
        One of `potential_names`, an alias (``sevennet``, ``mattersim``, ``mattersim-5m`` …) or the path of a
        MatterSim ``.pth`` checkpoint. None: MatterSim if its weights are on this machine, in the file that
        ``AUTOMAT_MATTERSIM_CHECKPOINT`` names or in MatterSim's own cache folder, else SevenNet-0 with
        `Potential.fallback` saying so.
    device
        Torch device: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` …, or ``"auto"`` for a GPU where there is one.

    Raises
    ------
    PotentialError
        If the name is unknown, its weights are not on this machine, or the device is not available.
    """
    device = _device(device)
    if name is None:
        path = _mattersim_checkpoint()
        if path is not None:
            return _potential("mattersim", _mattersim_name(path), path, device)
        fallback = "MatterSim's weights are not on this machine; energies are from SevenNet-0, embedded"
        return _potential("sevennet", DEFAULT_EMBEDDED, _sevennet_path(DEFAULT_EMBEDDED), device, fallback)

    key = _ALIASES.get(name.strip().lower(), name.strip().lower())
    if key in _SEVENNET_FILES:
        return _potential("sevennet", key, _sevennet_path(key), device)
    if key == "mattersim" or key in _MATTERSIM_FILES:
        wanted = None if key == "mattersim" else key
        path = _mattersim_checkpoint(wanted)
        if path is None:
            raise PotentialError(
                f"{name}: its weights are not on this machine; put "
                f"{_MATTERSIM_FILES[wanted or 'mattersim-v1.0.0-1m']} into {_mattersim_folder()}, or give its path "
                f"here or in {CHECKPOINT_VARIABLE}; '{DEFAULT_EMBEDDED}' needs no download"
            )
        return _potential("mattersim", _mattersim_name(path), path, device)
    path = Path(name).expanduser()
    if path.suffix == ".pth" or path.exists():
        return _potential("mattersim", _mattersim_name(path), path, device)
    raise PotentialError(
        f"{name}: unknown potential; choose one of {', '.join(potential_names())}, or the path of a MatterSim .pth file"
    )


def _potential(family: Family, name: str, path: Path, device: str, fallback: str = "") -> Potential:
    try:
        stat = path.stat()
        digest = _sha256(path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise PotentialError(f"{path}: cannot read the weights of {name}: {error.strerror or error}") from error
    published = name in _SEVENNET_FILES or name in _MATTERSIM_FILES
    scale = _SCALES[family] if published else "unknown"
    return Potential(name, digest, scale, MP_ELEMENTS, fallback, path, family, device)


def _device(device: str) -> str:
    if device == "cpu":
        return device
    import torch  # seconds of start-up that the command line does not need

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise PotentialError(f"device {device!r} is not available ({_one_line(error)}); use 'cpu' or 'auto'") from error
    return device


@cache
def _sha256(path: Path, mtime_ns: int, size: int) -> str:
    """Digest of a file; its time and size are part of the key, so that a replaced file is read again."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sevennet_path(name: str) -> Path:
    spec = importlib.util.find_spec("sevenn")
    if spec is None or spec.origin is None:
        raise PotentialError(f"{name}: the package 'sevenn' is not installed; install it with the pinned constraints")
    return Path(spec.origin).parent / "pretrained_potentials" / _SEVENNET_FILES[name]


def _mattersim_folder() -> Path:
    return Path.home() / ".local" / "mattersim" / "pretrained_models"


def _mattersim_checkpoint(name: str | None = None) -> Path | None:
    """Checkpoint named by the environment or in MatterSim's cache folder, or None; `name` limits which one."""
    given = os.environ.get(CHECKPOINT_VARIABLE, "").strip()
    if given:
        path = Path(given).expanduser()
        if not path.is_file():
            raise PotentialError(f"{CHECKPOINT_VARIABLE}={given}: no such file; correct the variable or unset it")
        if name in (None, path.stem.lower()):
            return path
    files = _MATTERSIM_FILES.values() if name is None else [_MATTERSIM_FILES[name]]
    return next((path for path in (_mattersim_folder() / file for file in files) if path.is_file()), None)


def _mattersim_name(path: Path) -> str:
    stem = path.stem.lower()
    return stem if stem in _MATTERSIM_FILES else f"mattersim:{path.stem}"


@cache
def _network(family: Family, path: Path, device: str, checkpoint: str) -> tuple[Calculator, threading.Lock]:
    """Build the process's one calculator of a checkpoint, with the lock that guards it."""
    try:
        with _third_party_quiet():
            network = _sevennet(path, device) if family == "sevennet" else _mattersim(path, device)
    except PotentialError:
        raise
    except ImportError as error:
        raise PotentialError(f"{path.name}: cannot import {family}: {_one_line(error)}; run 'make install'") from error
    except Exception as error:  # a foreign or damaged file fails anywhere in the reader, with any type
        raise PotentialError(f"{path}: not a usable {family} checkpoint: {_one_line(error)}") from error
    return network, threading.Lock()


def _sevennet(path: Path, device: str) -> Calculator:
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator(str(path), device=device)


def _mattersim(path: Path, device: str) -> Calculator:
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict) or not {"model_name", "model_args", "model"} <= content.keys():
        raise PotentialError(f"{path}: not a MatterSim checkpoint; it has no model in it")

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


@contextmanager
def _third_party_quiet() -> Iterator[None]:
    """Hide what torch, e3nn, SevenNet and MatterSim warn of while imported and built: nothing a user can act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:200] if text else type(error).__name__
