"""Many structures in one evaluation of a potential's network.

A graph network takes several structures as one graph of unconnected parts, so that a batch costs one start of every
kernel. What is said of one structure does not depend on the others in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from microscopy.errors import PotentialError
from models.potentials import Potential

BATCH_ATOMS = {"cpu": 48, "cuda": 2048}
"""Most atoms in one evaluation, by kind of device: a processor gains nothing beyond (``benchmarks.relax_speed``), and a
GPU's memory is bounded."""

Results = dict[str, Any]


def evaluate(atoms: Sequence[Atoms], potential: Potential) -> None:
    """Give each of `atoms` a calculator that holds its energy (eV), forces (eV/Å) and stress (eV/Å³).

    The calculator of a structure that cannot be evaluated raises its `PotentialError` when it is asked.
    """
    shared = potential.calculator()
    results = _batched(atoms, potential) if len(atoms) > 1 else {}
    for each in atoms:
        result = results.get(id(each))
        each.calc = SinglePointCalculator(each, **result) if result else _alone(each, shared)


def _batched(atoms: Sequence[Atoms], potential: Potential) -> dict[int, Results]:
    """Results by identity of the atoms; what is not in it is to be tried alone."""
    results: dict[int, Results] = {}
    fit = [each for each in atoms if len(each) and set(each.symbols) <= potential.elements]
    for batch in _batches(fit, BATCH_ATOMS["cpu" if potential.device == "cpu" else "cuda"]):
        if len(batch) > 1:
            found = _together(batch, potential)
            results.update((id(each), result) for each, result in zip(batch, found, strict=False))
    return results


def _together(atoms: Sequence[Atoms], potential: Potential) -> list[Results]:
    """Results of one batch; none unless there are all, so that each is tried alone and a culprit named."""
    compute = BATCHED.get(potential.family)
    if compute is None:
        return []
    with potential.network() as network:
        try:
            found = compute(network, atoms)
        except (RuntimeError, ValueError, IndexError):
            return []
    finite = all(np.isfinite(value).all() for result in found for value in result.values())
    return found if finite and len(found) == len(atoms) else []


def _alone(atoms: Atoms, shared: Calculator) -> Calculator:
    try:
        shared.calculate(atoms)
    except PotentialError as error:
        return _Failed(error)
    wanted = {name: shared.results[name] for name in ("energy", "forces", "stress")}
    return SinglePointCalculator(atoms, **wanted)


class _Failed(Calculator):
    """Raises what went wrong in the place where the numbers are wanted."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012 (as in ASE)

    def __init__(self, error: PotentialError) -> None:
        super().__init__()
        self.error = error

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = tuple(all_changes)) -> None:
        raise self.error


def _batches(atoms: Sequence[Atoms], most: int) -> Iterator[list[Atoms]]:
    """Consecutive groups of at most `most` atoms, of one structure at least."""
    batch: list[Atoms] = []
    for each in atoms:
        if batch and sum(map(len, batch)) + len(each) > most:
            yield batch
            batch = []
        batch.append(each)
    if batch:
        yield batch


def _sevennet(network: Any, atoms: Sequence[Atoms]) -> list[Results]:
    from sevenn import _keys as key
    from sevenn.atom_graph_data import AtomGraphData
    from sevenn.train.dataload import unlabeled_atoms_to_graph
    from torch_geometric.loader.dataloader import Collater

    graphs = [AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(each, network.cutoff)) for each in atoms]
    data = Collater([], None, None)(graphs).to(network.device)
    network.model.set_is_batch_data(True)
    try:
        output = network.model(data)
    finally:
        network.model.set_is_batch_data(False)
    energies, forces, stresses = (
        output[name].detach().cpu().numpy().astype(float)
        for name in (key.PRED_TOTAL_ENERGY, key.PRED_FORCE, key.PRED_STRESS)
    )
    voigt = -stresses[:, [0, 1, 2, 4, 5, 3]]  # from SevenNet's order xx, yy, zz, xy, yz, zx of the virial's sign
    return _split(atoms, energies, forces, voigt)


def _mattersim(network: Any, atoms: Sequence[Atoms]) -> list[Results]:
    from mattersim.datasets.utils.build import build_dataloader
    from mattersim.forcefield.potential import batch_to_dict

    model = network.potential.model
    cutoffs = {name: model.model_args[name] for name in ("cutoff", "threebody_cutoff")}
    loader = build_dataloader(list(atoms), batch_size=len(atoms), only_inference=True, **cutoffs)
    graphs = next(iter(loader))
    output = network.potential.forward(batch_to_dict(graphs, device=network.device))
    energies, forces, stresses = (
        output[name].detach().cpu().numpy().astype(float) for name in ("total_energy", "forces", "stresses")
    )
    voigt = [network.stress_weight * full_3x3_to_voigt_6_stress(each) for each in stresses]
    return _split(atoms, energies, forces, np.array(voigt))


def _split(atoms: Sequence[Atoms], energies: np.ndarray, forces: np.ndarray, stresses: np.ndarray) -> list[Results]:
    if len(energies) != len(atoms):
        return []
    parts = np.split(forces, np.cumsum([len(each) for each in atoms])[:-1])
    return [
        {"energy": float(energy), "forces": force, "stress": stress}
        for energy, force, stress in zip(energies, parts, stresses, strict=True)
    ]


BATCHED: dict[str, Callable[[Any, Sequence[Atoms]], list[Results]]] = {"sevennet": _sevennet, "mattersim": _mattersim}
"""By family: results of several structures from its calculator's network, in one evaluation."""
