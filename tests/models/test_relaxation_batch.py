from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import iread
from pymatgen.core import Lattice, Structure

from microscopy.errors import PotentialError
from microscopy.slab import slab
from microscopy.writers import write_text
from models.batch import BATCHED, evaluate
from models.potentials import Potential, load_potential
from models.records import Relaxation
from models.relaxation import RelaxOptions, relax_batch, relax_in_plane, to_atoms
from models.relaxation.descent import MAX_FRAMES, minimise
from models.relaxation.path import to_extxyz


def layer(metal: str, anion: str, a: float, half: float = 1.56) -> Structure:
    z = half / 25
    sites = [[1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5 + z], [2 / 3, 1 / 3, 0.5 - z]]
    return slab(Structure(Lattice.from_parameters(a, a, 25, 90, 90, 120, vesta=True), [metal, anion, anion], sites))


def oblique() -> Structure:
    """No symmetry in the plane: a 1H cell with two kinds of chalcogen, sheared, and its sites moved."""
    lattice = Lattice.from_parameters(3.2, 3.3, 25, 90, 90, 118, vesta=True)
    sites = [[0.34, 0.66, 0.5], [0.65, 0.34, 0.563], [0.67, 0.32, 0.434]]
    return slab(Structure(lattice, ["Mo", "S", "Se"], sites))


@pytest.fixture(scope="module", params=["sevennet", "mattersim"])
def potential(request: pytest.FixtureRequest, tiny_mattersim: Path) -> Potential:
    return load_potential("sevennet-0" if request.param == "sevennet" else str(tiny_mattersim))


def rattled() -> list[Atoms]:
    found = [to_atoms(each) for each in (layer("Mo", "S", 3.2), oblique(), layer("W", "Se", 3.3, 1.7))]
    for number, each in enumerate(found):
        each.rattle(0.05, seed=number)
    return found


def test_a_batch_says_what_single_evaluations_say(potential: Potential) -> None:
    together = rattled()
    evaluate(together, potential)
    for batched, alone in zip(together, rattled(), strict=True):
        alone.calc = potential.calculator()
        assert batched.get_potential_energy() == pytest.approx(alone.get_potential_energy(), abs=1e-4)
        assert np.abs(batched.get_forces() - alone.get_forces()).max() < 1e-4
        assert np.abs(batched.get_stress() - alone.get_stress()).max() < 1e-6
        assert np.abs(alone.get_stress()).max() > 1e-4  # of a size that the line above can tell


def test_single_evaluations_after_a_batch_are_what_they_were_before(potential: Potential) -> None:
    atoms = rattled()[0]
    atoms.calc = potential.calculator()
    before = atoms.get_forces()
    evaluate(rattled(), potential)
    atoms.calc = potential.calculator()
    assert np.array_equal(before, atoms.get_forces())


def test_what_cannot_be_evaluated_raises_when_asked_and_leaves_the_rest(potential: Potential) -> None:
    atoms = rattled()
    atoms[1].symbols[0] = "Lr"
    evaluate(atoms, potential)
    assert np.isfinite(atoms[0].get_potential_energy() + atoms[2].get_potential_energy())
    with pytest.raises(PotentialError, match="not trained on Lr"):
        atoms[1].get_forces()


def test_a_batch_that_fails_as_one_is_tried_one_by_one(sevennet: Potential, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(network: object, atoms: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setitem(BATCHED, "sevennet", broken)
    atoms = rattled()
    evaluate(atoms, sevennet)
    assert all(np.isfinite(each.get_potential_energy()) for each in atoms)


def test_a_family_without_batches_is_evaluated_one_by_one(sevennet: Potential, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(BATCHED, "sevennet")
    atoms = rattled()
    evaluate(atoms, sevennet)
    assert all(np.isfinite(each.get_potential_energy()) for each in atoms)


def test_a_batch_relaxes_each_as_it_would_be_alone(sevennet: Potential) -> None:
    options = RelaxOptions(max_force=0.02)
    structures = [layer("Mo", "S", 3.28), layer("W", "Se", 3.2, 1.7), oblique()]
    outcomes = relax_batch(structures, sevennet, options)
    for structure, outcome in zip(structures, outcomes, strict=True):
        alone = relax_in_plane(structure, sevennet, options)
        assert isinstance(outcome, Relaxation)
        assert outcome.converged
        assert outcome.energy_per_atom == pytest.approx(alone.energy_per_atom, abs=1e-4)
        assert np.allclose(outcome.strain, alone.strain, atol=[1e-3, 1e-3, 0.1])


def test_one_that_fails_leaves_its_error_in_its_place(sevennet: Potential) -> None:
    two = layer("Mo", "S", 3.2)
    two.translate_sites([0], [0.25, -0.25, 0.06])  # onto a sulphur
    unknown = layer("Lr", "S", 3.2)
    outcomes = relax_batch([two, layer("Mo", "S", 3.2), unknown], sevennet, RelaxOptions(max_steps=3))
    good = [isinstance(outcome, Relaxation) for outcome in outcomes]
    assert good[1:] == [True, False]
    assert "Lr" in str(outcomes[2])
    assert relax_batch([], sevennet) == []


def test_no_symmetry_is_no_obstacle_and_none_is_made(sevennet: Potential) -> None:
    kept, free = (relax_in_plane(oblique(), sevennet, RelaxOptions(keep_symmetry=keep)) for keep in (True, False))
    assert kept.converged
    assert kept.structure.lattice.c == pytest.approx(oblique().lattice.c, abs=1e-9)
    assert kept.energy_per_atom == pytest.approx(free.energy_per_atom, abs=1e-4)
    assert abs(kept.strain[2]) > 0.05  # the angle, too, is free


def test_a_centred_cell_keeps_its_mirror_in_a_primitive_setting(sevennet: Potential) -> None:
    # a = b with a free angle: the symmetry that FixSymmetry has to keep while the cell filter moves all three.
    lattice = Lattice.from_parameters(3.5, 3.5, 20, 90, 90, 100, vesta=True)
    structure = slab(Structure(lattice, ["Sn", "Te"], [[0.1, 0.1, 0.47], [0.56, 0.56, 0.53]]))
    relaxed = relax_in_plane(structure, sevennet, RelaxOptions(max_force=0.02)).structure
    assert relaxed.lattice.a == pytest.approx(relaxed.lattice.b, abs=1e-5)
    assert abs(relaxed.lattice.gamma - 100) > 0.5
    shift = relaxed.frac_coords[1, :2] - relaxed.frac_coords[0, :2]
    assert shift[0] == pytest.approx(shift[1], abs=1e-5)


def test_the_path_is_kept_and_can_be_played(sevennet: Potential, tmp_path: Path) -> None:
    result = relax_in_plane(layer("Mo", "S", 3.3), sevennet)
    path = result.path
    assert path is not None
    assert len(path.energies) == len(path.max_forces) == result.steps + 1
    assert path.energies[0] / 3 == pytest.approx(result.initial_energy_per_atom)
    assert path.energies[-1] / 3 == pytest.approx(result.energy_per_atom)
    assert path.max_forces[-1] == pytest.approx(result.max_force)
    assert (path.frames[0], path.frames[-1]) == (0, result.steps)
    frames = list(iread(write_text(tmp_path / "relaxation.extxyz", to_extxyz(path)), format="extxyz"))
    assert len(frames) == len(path.frames)
    for step, frame in zip(path.frames, frames, strict=True):
        assert frame.pbc.tolist() == [True, True, False]
        assert frame.get_potential_energy() == pytest.approx(path.energies[step], abs=1e-6)
        assert frame.info["step"] == step
    assert frames[-1].cell.lengths()[:2] == pytest.approx(result.structure.lattice.abc[:2], abs=1e-6)


def test_the_frames_of_a_long_path_are_bounded() -> None:
    from ase.calculators.lj import LennardJones

    atoms = Atoms("Ar2", [[0, 0, 0], [0, 0, 18.0]], cell=[40, 40, 40], pbc=True)
    atoms.calc = LennardJones(sigma=3.4, epsilon=0.01, rc=19.0)
    still = RelaxOptions(max_force=0, max_steps=120, keep_symmetry=False)
    path = minimise(atoms, (0, 0, 0, 0, 0, 0), still).path
    assert len(path.energies) == 121
    assert len(path.frames) == len(path.positions) == MAX_FRAMES
    assert (path.frames[0], path.frames[-1]) == (0, 120)
