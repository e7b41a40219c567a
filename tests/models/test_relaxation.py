from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import spglib
from pymatgen.core import Lattice, Structure

from microscopy.errors import PotentialError
from microscopy.slab import slab
from models.potentials import Potential, load_potential
from models.relaxation import RelaxOptions, relax_in_plane, to_atoms


def mos2(a: float = 3.25, b: float | None = None, gamma: float = 120.0) -> Structure:
    lattice = Lattice.from_parameters(a, b or a, 25, 90, 90, gamma, vesta=True)
    return slab(
        Structure(lattice, ["Mo", "S", "S"], [[1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.566], [2 / 3, 1 / 3, 0.434]])
    )


def black_phosphorene(a: float = 3.30, b: float = 4.62) -> Structure:
    sites = [[0.0, 0.08, 0.447], [0.5, 0.42, 0.447], [0.5, 0.58, 0.553], [0.0, 0.92, 0.553]]
    return slab(Structure(Lattice.from_parameters(a, b, 20, 90, 90, 90, vesta=True), ["P"] * 4, sites))


def layer_group(structure: Structure, tolerance: float) -> int:
    cell = (structure.lattice.matrix, structure.frac_coords, [site.specie.Z for site in structure])
    return int(spglib.get_layergroup(cell, aperiodic_dir=2, symprec=tolerance).number)


def test_finds_the_literature_lattice_from_either_side(sevennet: Potential) -> None:
    # a = 3.18 Å for monolayer MoS2 in PBE: Rasmussen and Thygesen, J. Phys. Chem. C 119, 13169 (2015).
    small, large = (relax_in_plane(mos2(a), sevennet) for a in (3.05, 3.32))
    for result in (small, large):
        assert result.converged
        assert result.max_force < RelaxOptions().max_force
        assert result.structure.lattice.a == pytest.approx(3.18, rel=0.01)
        assert result.energy_per_atom < result.initial_energy_per_atom
    assert small.structure.lattice.a == pytest.approx(large.structure.lattice.a, rel=0.003)
    assert small.strain[0] > 0 > large.strain[0]


def test_converged_means_small_forces_in_a_fresh_calculation(sevennet: Potential) -> None:
    result = relax_in_plane(black_phosphorene(), sevennet)
    atoms = to_atoms(result.structure)
    atoms.calc = sevennet.calculator()
    limit = RelaxOptions().max_force
    assert result.converged
    assert np.linalg.norm(atoms.get_forces(), axis=1).max() < limit
    virial = atoms.get_volume() * atoms.get_stress()[[0, 1, 5]] / len(atoms)
    assert np.abs(virial).max() < limit
    assert atoms.get_potential_energy() / len(atoms) == pytest.approx(result.energy_per_atom, abs=1e-5)


def test_leaves_the_input_alone_and_returns_a_slab(sevennet: Potential) -> None:
    structure = black_phosphorene()
    before = structure.copy()
    result = relax_in_plane(structure, sevennet)
    assert structure == before
    assert np.array_equal(structure.frac_coords, before.frac_coords)
    relaxed = result.structure
    assert relaxed.species == before.species
    assert relaxed.lattice.pbc == (True, True, False)
    assert relaxed.lattice.c == pytest.approx(before.lattice.c, abs=1e-9)
    assert np.allclose(relaxed.lattice.matrix[[0, 0, 1, 2, 2], [1, 2, 2, 0, 1]], 0, atol=1e-9)
    z = relaxed.cart_coords[:, 2]
    assert (z.min() + z.max()) / 2 == pytest.approx(relaxed.lattice.c / 2, abs=1e-6)


@pytest.mark.parametrize("structure", [mos2(), black_phosphorene()], ids=["MoS2", "P"])
def test_keeps_the_layer_group(structure: Structure, sevennet: Potential) -> None:
    relaxed = relax_in_plane(structure, sevennet).structure
    assert layer_group(relaxed, 1e-4) == layer_group(structure, 1e-4)


def test_symmetry_may_be_given_up(sevennet: Potential) -> None:
    sheared = mos2(3.2, 3.26, 118.5)
    kept = relax_in_plane(sheared, sevennet, RelaxOptions(max_force=0.01))
    free = relax_in_plane(sheared, sevennet, RelaxOptions(max_force=0.01, keep_symmetry=False))
    assert abs(kept.structure.lattice.gamma - 120) < 0.3
    assert free.energy_per_atom == pytest.approx(kept.energy_per_atom, abs=2e-3)


def test_displacements_exclude_translation_and_strain(sevennet: Potential) -> None:
    stretched = relax_in_plane(mos2(3.32), sevennet)
    assert np.allclose(stretched.displacements, 0, atol=1e-3)  # every site of 1H-MoS2 is fixed by symmetry in the plane
    assert np.allclose(stretched.strain[:2], 3.18 / 3.32 - 1, atol=0.01)
    assert stretched.strain[2] == pytest.approx(0, abs=0.01)

    structure = black_phosphorene()
    moved = structure.copy()
    moved.translate_sites(range(len(moved)), [0.13, 0.21, 0], to_unit_cell=False)
    still, shifted = relax_in_plane(structure, sevennet), relax_in_plane(moved, sevennet)
    assert still.displacements.max() > 0.01
    assert np.allclose(still.displacements, shifted.displacements, atol=2e-3)


def test_displacement_is_the_way_back_of_a_displaced_site(sevennet: Potential) -> None:
    ideal = relax_in_plane(mos2(3.18), sevennet, RelaxOptions(max_force=0.005)).structure
    displaced = ideal.copy()
    displaced.translate_sites([0], [0.06, 0, 0], frac_coords=False)
    result = relax_in_plane(displaced, sevennet, RelaxOptions(max_force=0.005))
    # Against their mean: the metal has moved by two thirds, the two others by one third.
    assert np.allclose(result.displacements, [0.04, 0.02, 0.02], atol=0.004)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (RelaxOptions(max_steps=1, max_force=1e-4), "not converged in 1 steps"),
        (RelaxOptions(max_seconds=0.0, max_force=1e-4), "stopped after 0 s"),
    ],
)
def test_a_met_limit_is_a_result_with_a_note(options: RelaxOptions, says: str, sevennet: Potential) -> None:
    result = relax_in_plane(mos2(3.32), replace(sevennet, fallback="used instead"), options)
    assert not result.converged
    assert result.steps <= 1
    assert result.max_force > options.max_force
    assert result.note == f"used instead; {says}"


def test_relaxes_with_a_mattersim_checkpoint(tiny_mattersim: Path) -> None:
    potential = load_potential(str(tiny_mattersim))
    result = relax_in_plane(mos2(), potential, RelaxOptions(max_steps=40))
    assert (result.potential, result.checkpoint) == (potential.name, potential.checkpoint)
    assert result.energy_per_atom < result.initial_energy_per_atom
    assert result.converged == (result.max_force < RelaxOptions().max_force)


def test_a_collapse_is_an_error_not_a_number(sevennet: Potential) -> None:
    # Outside its training the potential has no repulsive core: left alone, these sites end below -1e7 eV/atom.
    lattice = Lattice.from_parameters(3.5, 4.1, 20, 90, 90, 90, vesta=True)
    close = slab(Structure(lattice, ["Ne", "Ne", "Sb"], [[0, 0, 0.5], [0, 0.1, 0.5], [0, 0.2, 0.5]]))
    with pytest.raises(PotentialError, match="collapsed"):
        relax_in_plane(close, sevennet)


def test_one_atom(sevennet: Potential) -> None:
    copper = slab(Structure(Lattice.from_parameters(2.5, 2.5, 20, 90, 90, 120), ["Cu"], [[0.2, 0.3, 0.5]]))
    result = relax_in_plane(copper, sevennet)
    assert result.converged
    assert result.displacements == pytest.approx([0.0])


@pytest.mark.parametrize(
    ("structure", "says"),
    [
        (Structure(Lattice.cubic(4), ["Mo", "S"], [[0, 0, 0], [0.01, 0, 0]]), "two sites are 0.04"),
        (Structure(Lattice.orthorhombic(0.2, 3, 20), ["Mo"], [[0, 0, 0.5]]), "two sites are 0.20"),
        (Structure(Lattice.cubic(4), [{"Mo": 0.5, "W": 0.5}], [[0, 0, 0]]), "ordered"),
        (Structure(Lattice.rhombohedral(4, 70), ["Mo"], [[0, 0, 0]]), "not a slab"),
        (Structure(Lattice(np.diag([3.0, -4.0, 20.0])), ["Mo"], [[0, 0, 0]]), "not a slab"),
        (Structure(Lattice.cubic(4), [], []), "at least one site"),
    ],
)
def test_refuses_what_has_no_energy(structure: Structure, says: str, sevennet: Potential) -> None:
    with pytest.raises(PotentialError, match=says):
        relax_in_plane(structure, sevennet)
