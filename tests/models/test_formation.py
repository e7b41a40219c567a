from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Composition, Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from microscopy.errors import PotentialError
from microscopy.slab import slab
from models import formation
from models.elements import ElementalReference, References, elemental_references
from models.formation import formation_energy_per_atom, relax
from models.potentials import Potential
from models.relaxation import RelaxOptions, to_atoms

DATA = Path(__file__).parents[3] / "shared" / "data" / "structures"


pytestmark = pytest.mark.usefixtures("cache_folder")


def reference(energy: float) -> ElementalReference:
    return ElementalReference(energy, energy, "", 0, True, 0.0)


def rock_salt_layer(cation: str, anion: str, a: float) -> Structure:
    lattice = Lattice.from_parameters(a, a, 20, 90, 90, 90, vesta=True)
    return slab(Structure(lattice, [cation, anion], [[0, 0, 0.5], [0.5, 0.5, 0.5]]))


def test_is_the_energy_less_the_elements(sevennet: Potential) -> None:
    references = References(sevennet.checkpoint, {"Mo": reference(-10.0), "S": reference(-4.0)}, {})
    energy = formation_energy_per_atom(-7.0, Composition("Mo2S4"), sevennet, references)
    assert energy == pytest.approx(-7.0 + (10.0 + 2 * 4.0) / 3)
    assert formation_energy_per_atom(-4.0, Composition("S8"), sevennet, references) == pytest.approx(0)
    assert formation_energy_per_atom(-4.0, Composition("MoSe2"), sevennet, references) is None


def test_scales_are_not_mixed(sevennet: Potential, tiny: Potential) -> None:
    with pytest.raises(PotentialError, match="same checkpoint"):
        formation_energy_per_atom(-7.0, Composition("Al"), sevennet, elemental_references(["Al"], tiny))


def test_relax_fills_the_formation_energy(sevennet: Potential) -> None:
    structure = rock_salt_layer("Li", "F", 2.8)
    result = relax(structure, sevennet)
    assert result.converged
    assert result.note == ""
    references = elemental_references(["Li", "F"], sevennet).found
    half = (references["Li"].energy_per_atom + references["F"].energy_per_atom) / 2
    assert result.formation_energy_per_atom == pytest.approx(result.energy_per_atom - half)
    assert result.formation_energy_per_atom < -1.0  # LiF is among the most stable of binary compounds


def test_a_missing_reference_is_said(sevennet: Potential) -> None:
    result = relax(rock_salt_layer("Yb", "S", 4.0), sevennet, RelaxOptions(max_steps=3))
    assert result.formation_energy_per_atom is None
    assert "no reference for Yb" in result.note
    assert np.isfinite(result.energy_per_atom)


def test_an_impossible_formation_energy_is_not_given(sevennet: Potential, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formation, "LOWEST", -1.0)
    result = relax(rock_salt_layer("Li", "F", 2.8), sevennet)
    assert result.formation_energy_per_atom is None
    assert "no compound" in result.note


def test_an_unverified_scale_is_said(tiny: Potential) -> None:
    result = relax(rock_salt_layer("Cu", "Al", 3.9), tiny, RelaxOptions(max_steps=60))
    assert "scale" in result.note
    assert result.scale == "unknown"


def test_agrees_with_dft_on_monolayers(sevennet: Potential) -> None:
    database, table = DATA / "2dmatpedia_1224.db", DATA / "dft_formation_energy.csv"
    if not (database.exists() and table.exists()):
        pytest.skip("the monolayer database is not beside the checkout")
    from ase.db import connect

    with table.open(newline="") as stream:
        dft = {row["material_id"]: float(row["formation_energy_per_atom_eV"]) for row in csv.DictReader(stream)}
    # Drawn from all sizes: small cells hold most of the unusual compounds, and have twice the error of the rest.
    known = [row for row in connect(database).select("natoms<13") if row.data["material_id"] in dft]
    errors = []
    for index in np.random.default_rng(1).choice(len(known), 30, replace=False):
        row = known[index]
        structure = slab(AseAtomsAdaptor.get_structure(row.toatoms()))
        atoms = to_atoms(structure)
        atoms.calc = sevennet.calculator()
        references = elemental_references(structure.composition.as_dict(), sevennet)
        energy = formation_energy_per_atom(
            atoms.get_potential_energy() / len(atoms), structure.composition, sevennet, references
        )
        assert energy is not None
        errors.append(abs(energy - dft[row.data["material_id"]]))
    assert np.median(errors) < 0.06  # eV/atom; a wrong scale costs 0.25 and more
