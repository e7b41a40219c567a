"""A CIF that leaves the house gives the same crystal back, in every reader."""

import io
import warnings

import numpy as np
import pytest
from ase.io import read
from hypothesis import given, settings
from monolayers import MONOLAYERS, layer
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core.structure import Structure
from pymatgen.io.cif import CifParser
from strategies import described, displaced, slabs, views

from benchmarks.metrics import rmsd_projected
from microscopy.errors import ReconstructionError
from microscopy.slab import slab
from reconstruction.cif import checked_cif, cif_text, structure_cif
from reconstruction.symmetry import layer_symmetry


def parsed(text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CifParser.from_str(text).parse_structures(primitive=False)[0]


def parsed_by_ase(text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read(io.BytesIO(text.encode()), format="cif")


def written_sites(text):
    return [line for line in text.splitlines() if line.startswith("  ") and len(line.split()) == 7]


@given(structure=slabs())
@settings(max_examples=20, deadline=None)
def test_p1_round_trip(structure):
    back = parsed(checked_cif(structure))
    assert len(back) == len(structure)
    assert StructureMatcher(scale=False, primitive_cell=False).fit(
        back, Structure(structure.lattice.matrix, structure.species, structure.frac_coords)
    )


@pytest.mark.parametrize("name", MONOLAYERS)
def test_symmetric_round_trip(name):
    structure, number = MONOLAYERS[name]
    text = checked_cif(structure, symmetric=True, tolerance=0.02)
    assert f"layer group {number} " in text
    assert "tolerance of 0.02 Angstrom" in text
    if name in ("graphene", "MoS2 1H", "CrI3"):
        assert len(written_sites(text)) == len(structure.composition)
    assert sum(int(site.split()[2]) for site in written_sites(text)) == len(structure)
    back = parsed(text)
    assert back.composition == structure.composition
    assert len(parsed_by_ase(text)) == len(structure)
    assert rmsd_projected(back, structure) < 1e-6
    assert layer_symmetry(slab(back)).number == number


@given(structure=slabs(max_sites=3), view=views())
@settings(max_examples=20, deadline=None)
def test_any_slab_can_be_released(structure, view):
    symmetry = layer_symmetry(slab(described(structure, view)))
    back = parsed(structure_cif(symmetry.symmetrised, tolerance=symmetry.tolerance))
    assert len(back) == len(structure)
    assert rmsd_projected(back, structure) < 0.01


def test_noise_survives_to_ten_decimals_in_p1():
    """1/3 + 1e-6 is neither rounded away nor turned into another site."""
    structure = displaced(MONOLAYERS["MoS2 1H"][0], 1e-6, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        back = CifParser.from_str(checked_cif(structure), frac_tolerance=0).parse_structures(primitive=False)[0]
    delta = back.frac_coords - structure.frac_coords
    assert np.abs(delta - np.round(delta)).max() < 1e-9


def test_centred_groups_are_written_in_p1_and_say_why():
    centred = layer(3.0, 3.0, 75, [("Si", 0.1, 0.1, 0), ("O", 0.6, 0.6, 0.7)])
    with pytest.raises(ReconstructionError, match="more or fewer sites"):
        checked_cif(centred, symmetric=True)
    text = structure_cif(centred)
    assert "in P 1" in text.splitlines()[0]
    assert len(parsed(text)) == 2


def test_head_is_ascii_whatever_the_comments():
    text = cif_text(MONOLAYERS["graphene"][0], ["dose 10⁴ e/Å²\nsecond line"])
    assert text.isascii()
    assert text.splitlines()[1] == "# second line"
    assert parsed(text).composition.reduced_formula == "C"


def test_says_that_c_is_no_period():
    assert "c is no period of the crystal but holds 20.000 Angstrom of vacuum" in cif_text(MONOLAYERS["MoS2 1H"][0])


def test_diatomic_elements_count_atoms_as_formula_units():
    assert "_cell_formula_units_Z 1\n" in cif_text(layer(3.0, 3.0, 90, [("N", 0, 0, 0)]))


def test_overlapping_sites_are_not_released():
    structure = layer(3.0, 3.0, 90, [("C", 0, 0, 0), ("C", 0.05, 0, 0)])
    with pytest.raises(ReconstructionError, match=r"0\.150 Å apart"):
        checked_cif(structure)


def test_a_reader_that_returns_another_crystal_stops_the_release(monkeypatch):
    structure, _ = MONOLAYERS["MoS2 1T"]
    moved = structure.copy()
    moved.translate_sites([0], [0.001, 0, 0])
    monkeypatch.setattr("reconstruction.cif._read_ase", lambda text: moved)
    with pytest.raises(ReconstructionError, match="ASE reads"):
        checked_cif(structure)
