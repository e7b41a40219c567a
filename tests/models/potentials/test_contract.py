"""What every potential has to satisfy, whatever its weights: one suite for all families."""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import make_supercell

from microscopy.errors import PotentialError
from models.potentials import Potential, load_potential

# CHGNet makes numbers of tensors that carry gradients, which torch mentions once.
pytestmark = pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")

# Single precision: about 1e-7 of an energy of tens of eV, summed in another order.
ENERGY_TOLERANCE = 2e-5  # eV/atom
FORCE_TOLERANCE = 5e-4  # eV/Å; CHGNet takes the arc cosine of angles, which costs it half a digit


@pytest.fixture(params=["sevennet-0", pytest.param("sevennet-l3i5", marks=pytest.mark.slow), "mattersim", "chgnet"])
def potential(request: pytest.FixtureRequest, tiny_mattersim: Path) -> Potential:
    if request.param == "chgnet" and importlib.util.find_spec("chgnet") is None:
        pytest.skip("chgnet, which is optional, is not installed")
    return load_potential(str(tiny_mattersim) if request.param == "mattersim" else request.param)


def rumpled() -> Atoms:
    """An oblique slab without symmetry, four sites, far from equilibrium."""
    cell = [[4.3, 0, 0], [1.1, 5.2, 0], [0, 0, 22]]
    positions = [[0.1, 0.2, 10.2], [2.4, 0.4, 11.1], [0.5, 2.9, 11.4], [2.9, 3.1, 9.8]]
    return Atoms("SnSGeSe", positions=positions, cell=cell, pbc=(True, True, False))


def evaluate(atoms: Atoms, potential: Potential) -> tuple[float, np.ndarray]:
    atoms.calc = potential.calculator()
    return atoms.get_potential_energy(), atoms.get_forces()


def test_contract(potential: Potential) -> None:
    """What every potential has to satisfy, whatever its weights."""
    atoms = rumpled()
    before = atoms.copy()
    energy, forces = evaluate(atoms, potential)
    assert atoms == before  # positions, cell, species and boundary conditions are as they came
    again, same_forces = evaluate(rumpled(), potential)
    assert again == pytest.approx(energy, abs=1e-6)
    assert np.allclose(same_forces, forces, atol=1e-5)
    assert np.abs(forces).max() > 0.01, "the fixture must exert forces, or the rest shows nothing"
    tolerance = ENERGY_TOLERANCE * len(atoms)
    assert np.allclose(forces.sum(axis=0), 0, atol=FORCE_TOLERANCE)

    def agrees(atoms: Atoms, expected: np.ndarray) -> None:
        found, found_forces = evaluate(atoms, potential)
        assert found == pytest.approx(energy, abs=tolerance)
        assert np.allclose(found_forces, expected, atol=FORCE_TOLERANCE)

    moved = rumpled()
    moved.positions[1] += 2 * moved.cell[0] - moved.cell[1]  # a lattice translation of one site
    moved.positions += [0.37, -1.2, 0]
    agrees(moved, forces)

    turned = rumpled()
    turned.rotate(33.0, "z", rotate_cell=True)
    angle = np.deg2rad(33.0)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    agrees(turned, forces @ rotation.T)

    order = [2, 0, 3, 1]
    agrees(rumpled()[order], forces[order])

    doubled = make_supercell(rumpled(), [[1, 1, 0], [-1, 1, 0], [0, 0, 1]])
    assert evaluate(doubled, potential)[0] == pytest.approx(2 * energy, abs=2 * tolerance)


def test_forces_and_stress_are_derivatives_of_the_energy(potential: Potential) -> None:
    atoms = rumpled()
    _, forces = evaluate(atoms, potential)
    stress = atoms.get_stress(voigt=False)
    step = 0.01  # Å, and strain / 10: well above single-precision noise, below the curvature
    for site, axis in ((0, 0), (2, 1), (3, 2)):
        energies = []
        for sign in (1, -1):
            displaced = rumpled()
            displaced.positions[site, axis] += sign * step
            energies.append(evaluate(displaced, potential)[0])
        assert forces[site, axis] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), rel=0.01, abs=0.005)
    for row, column in ((0, 0), (1, 1), (0, 1)):
        energies = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[row, column] += sign * step / 20
            strain[column, row] += sign * step / 20
            strained = rumpled()
            strained.set_cell(strained.cell @ (np.eye(3) + strain), scale_atoms=True)
            energies.append(evaluate(strained, potential)[0])
        slope = (energies[0] - energies[1]) / (2 * step / 10)
        assert stress[row, column] * atoms.get_volume() == pytest.approx(slope, rel=0.01, abs=0.02)


def test_one_atom_feels_no_force(potential: Potential) -> None:
    atoms = Atoms("Si", positions=[[1, 1, 10]], cell=[[2.6, 0, 0], [0.3, 2.9, 0], [0, 0, 20]], pbc=(True, True, False))
    energy, forces = evaluate(atoms, potential)
    assert np.isfinite(energy)
    assert np.allclose(forces, 0, atol=FORCE_TOLERANCE)


def test_threads_do_not_mix_results(potential: Potential) -> None:
    stretched = [rumpled() for _ in range(3)]
    for index, atoms in enumerate(stretched):
        atoms.set_cell(atoms.cell * [1 + 0.02 * index, 1, 1], scale_atoms=True)
    serial = [evaluate(atoms.copy(), potential)[0] for atoms in stretched]
    with ThreadPoolExecutor(3) as pool:
        parallel = list(pool.map(lambda atoms: evaluate(atoms.copy(), potential)[0], stretched))
    assert np.allclose(parallel, serial, atol=1e-4)
    assert np.ptp(serial) > 1e-3


def test_survives_pickling(potential: Potential) -> None:
    copy = pickle.loads(pickle.dumps(potential))
    assert copy == potential
    assert evaluate(rumpled(), copy)[0] == pytest.approx(evaluate(rumpled(), potential)[0], abs=1e-5)


def test_states_the_digest_of_its_weights(potential: Potential) -> None:
    assert potential.checkpoint == hashlib.sha256(potential.path.read_bytes()).hexdigest()


def test_computes_in_the_precision_and_on_the_device_it_states(potential: Potential) -> None:
    with potential.network() as network:
        model = network.potential.model if potential.family == "mattersim" else network.model
        weights = [value for value in model.parameters() if value.is_floating_point()]
    assert {str(value.dtype) for value in weights} == {f"torch.{potential.precision}"}
    assert {value.device.type for value in weights} == {potential.device}


@pytest.mark.parametrize("name", ["energy", "forces", "stress"])
def test_refuses_what_is_not_finite(potential: Potential, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calculator: Any = potential.calculator()
    found = {"energy": 1.0, "forces": np.zeros((4, 3)), "stress": np.zeros(6)}
    broken = SimpleNamespace(calculate=lambda *_: None, results={**found, name: found[name] + np.nan})
    monkeypatch.setattr(Potential, "network", lambda _: nullcontext(broken))
    with pytest.raises(PotentialError, match="not finite"):
        calculator.calculate(rumpled())


def test_refuses_an_element_it_was_not_trained_on(potential: Potential) -> None:
    atoms = rumpled()
    atoms.symbols[2] = "Po"
    with pytest.raises(PotentialError, match="Po"):
        evaluate(atoms, potential)
