from __future__ import annotations

import hashlib
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import make_supercell

from microscopy.errors import PotentialError
from models.potentials import MP_ELEMENTS, Potential, load_potential, potential_names

# Single precision: about 1e-7 of an energy of tens of eV, summed in another order.
ENERGY_TOLERANCE = 2e-5  # eV/atom
FORCE_TOLERANCE = 2e-4  # eV/Å


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without MatterSim's weights; the value is its folder for them."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("AUTOMAT_MATTERSIM_CHECKPOINT", raising=False)
    return tmp_path / ".local" / "mattersim" / "pretrained_models"


@pytest.fixture(params=["sevennet-0", pytest.param("sevennet-l3i5", marks=pytest.mark.slow), "mattersim"])
def potential(request: pytest.FixtureRequest, tiny_mattersim: Path) -> Potential:
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


def test_refuses_an_element_it_was_not_trained_on(potential: Potential) -> None:
    atoms = rumpled()
    atoms.symbols[2] = "Po"
    with pytest.raises(PotentialError, match="Po"):
        evaluate(atoms, potential)


@pytest.mark.parametrize("name", ["sevennet-0", "sevennet-l3i5"])
def test_elements_are_those_of_the_checkpoint(name: str) -> None:
    from ase.data import chemical_symbols

    network = load_potential(name).calculator()._network
    assert {chemical_symbols[z] for z in network.type_map} == MP_ELEMENTS


def test_default_without_mattersim_is_embedded_and_says_so(home: Path) -> None:
    potential = load_potential()
    assert (potential.name, potential.scale) == ("sevennet-0", "PBE")
    assert "MatterSim" in potential.fallback
    assert "SevenNet-0" in potential.fallback
    assert load_potential("sevennet-0").fallback == ""


def test_default_with_mattersim_in_its_folder(home: Path, tiny_mattersim: Path) -> None:
    home.mkdir(parents=True)
    (home / "mattersim-v1.0.0-5M.pth").write_bytes(tiny_mattersim.read_bytes())
    for name in (None, "mattersim", "MatterSim-5M", "mattersim-v1.0.0-5m"):
        potential = load_potential(name)
        assert (potential.name, potential.fallback) == ("mattersim-v1.0.0-5m", "")
    with pytest.raises(PotentialError, match=r"mattersim-v1\.0\.0-1M\.pth into"):
        load_potential("mattersim-1m")


def test_default_with_mattersim_in_the_variable(
    home: Path, tiny_mattersim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOMAT_MATTERSIM_CHECKPOINT", str(tiny_mattersim))
    for name in (None, "mattersim"):
        potential = load_potential(name)
        assert (potential.name, potential.scale, potential.fallback) == ("mattersim:tiny", "unknown", "")
    monkeypatch.setenv("AUTOMAT_MATTERSIM_CHECKPOINT", str(tiny_mattersim.with_name("absent.pth")))
    with pytest.raises(PotentialError, match="AUTOMAT_MATTERSIM_CHECKPOINT"):
        load_potential()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mattersim", "not on this machine"),
        ("mattersim-v1.0.0-5m", "mattersim-v1.0.0-5M.pth"),
        ("chgnet", "choose one of sevennet-0"),
        ("absent/weights.pth", "cannot read"),
    ],
)
def test_refuses_in_one_line(name: str, says: str, home: Path) -> None:
    with pytest.raises(PotentialError, match=says) as caught:
        load_potential(name)
    assert "\n" not in str(caught.value)


def test_refuses_files_that_are_no_checkpoint(tiny_mattersim: Path, tmp_path: Path) -> None:
    import torch

    text, cut, foreign, short = (tmp_path / f"{name}.pth" for name in ("text", "cut", "foreign", "short"))
    text.write_text("not weights")
    cut.write_bytes(tiny_mattersim.read_bytes()[:2000])
    torch.save({"weights": torch.zeros(3)}, foreign)
    content = torch.load(tiny_mattersim, weights_only=True)
    content["model"].pop(next(iter(content["model"])))
    torch.save(content, short)
    for path in (text, cut, foreign, short):
        with pytest.raises(PotentialError, match=path.name) as caught:
            load_potential(str(path)).calculator()
        assert "\n" not in str(caught.value)


def test_refuses_an_absent_device() -> None:
    with pytest.raises(PotentialError, match="cuda:99"):
        load_potential("sevennet-0", device="cuda:99")


def test_replaced_weights_have_another_digest(tiny_mattersim: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(tiny_mattersim.read_bytes())
    first = load_potential(str(path))
    path.write_bytes(tiny_mattersim.read_bytes() + b"\0")
    assert load_potential(str(path)).checkpoint != first.checkpoint


def test_loading_prints_nothing(tiny_mattersim: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "quiet.pth"
    path.write_bytes(tiny_mattersim.read_bytes())
    for name in (str(path), "sevennet-0"):
        evaluate(rumpled(), load_potential(name))
    assert capfd.readouterr() == ("", "")


def test_names_are_understood_or_explained(home: Path) -> None:
    for name in potential_names():
        if name.startswith("sevennet"):
            assert load_potential(name).name == name
        else:
            with pytest.raises(PotentialError, match=name):
                load_potential(name)
