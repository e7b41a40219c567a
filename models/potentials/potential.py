"""The record of a potential, and its evaluation: one copy of the weights per process, results of one's own."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from microscopy.errors import PotentialError
from models.potentials import chgnet, mattersim, sevennet
from models.potentials.registry import Family

_BUILD: dict[Family, Callable[[Path, str], Calculator]] = {
    "sevennet": sevennet.build,
    "mattersim": mattersim.build,
    "chgnet": chgnet.build,
}
_BUILDING = threading.Lock()


@dataclass(frozen=True)
class Potential:
    """An interatomic potential: what it is, and how to evaluate it.

    Light and picklable: the weights are read at the first call of `calculator` in a process.

    Attributes
    ----------
    name
        Canonical name, or ``mattersim:<file stem>`` for a checkpoint that is not one of the published.
    checkpoint
        sha256 of the weights file.
    scale
        The level of theory of its energies; energies of different scales must not be mixed.
    elements
        Symbols of the elements it was trained on.
    fallback
        Empty, or one sentence that says what was wanted and what is used instead.
    path, family, device, precision
        Weights file, the code that reads it, the torch device it runs on and the floating-point numbers it
        computes with: single precision, the only one that the pinned releases of the three families offer.
    """

    name: str
    checkpoint: str
    scale: str
    elements: frozenset[str] = field(repr=False)
    fallback: str
    path: Path
    family: Family
    device: str = "cpu"
    precision: str = "float32"

    def calculator(self) -> Calculator:
        """Return an ASE calculator with results of its own over the process's one copy of the weights.

        Energies in eV, forces in eV/Å, stress in eV/Å³ (Voigt). Evaluation is serialised between threads.

        Raises
        ------
        PotentialError
            If the weights cannot be loaded; on evaluation, if an element is not covered or a result is not finite.
        """
        return _Shared(self)

    @contextmanager
    def network(self) -> Iterator[Any]:
        """Lend the family's own calculator, one for the process, and keep other threads waiting meanwhile.

        For evaluations that its family can do and ASE has no word for, such as many structures at once.

        Raises
        ------
        PotentialError
            If the weights cannot be loaded.
        """
        with _BUILDING:
            network, lock = _network(self.family, self.path, self.device, self.checkpoint)
        with lock:
            yield network


class _Shared(Calculator):
    """ASE calculator that borrows the process's network for each evaluation.

    ASE calculators keep the last results in themselves, so one shared between threads would mix them up.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012 (as in ASE)

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential
        with potential.network():  # weights that cannot be loaded are told now
            pass

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
        with self.potential.network() as network:
            try:
                network.calculate(atoms, ["energy", "forces", "stress"], all_changes)
            except (RuntimeError, ValueError, IndexError) as error:
                raise PotentialError(f"{formula}: {self.potential.name} failed: {one_line(error)}") from error
            found = network.results
            stress = np.array(found["stress"], dtype=float)
            results: dict[str, Any] = {
                "energy": float(found["energy"]),
                "forces": np.array(found["forces"], dtype=float),
                "stress": full_3x3_to_voigt_6_stress(stress) if stress.shape == (3, 3) else stress,
            }
        if not all(np.all(np.isfinite(value)) for value in results.values()):
            raise PotentialError(f"{formula}: {self.potential.name} gives energies or forces that are not finite")
        self.results = {**results, "free_energy": results["energy"]}


@cache
def _network(family: Family, path: Path, device: str, checkpoint: str) -> tuple[Calculator, threading.Lock]:
    """Build the process's one calculator of a checkpoint, with the lock that guards it."""
    try:
        with _third_party_quiet():
            network = _BUILD[family](path, device)
    except PotentialError:
        raise
    except ImportError as error:
        raise PotentialError(f"{path.name}: cannot import {family}: {one_line(error)}; run 'make install'") from error
    except Exception as error:  # a foreign or damaged file fails anywhere in the reader, with any type
        raise PotentialError(f"{path}: not a usable {family} checkpoint: {one_line(error)}") from error
    return network, threading.Lock()


@contextmanager
def _third_party_quiet() -> Iterator[None]:
    """Hide what torch, e3nn and the families warn of while imported and built: nothing a user can act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def one_line(error: BaseException) -> str:
    """Type and message of an error of someone else's, cut to a line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:200] if text else type(error).__name__
