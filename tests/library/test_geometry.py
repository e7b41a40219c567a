import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from library.geometry import bond_network, closest_contact


def test_a_layer_is_one_component_that_repeats_in_two_directions(mos2, sns):
    assert bond_network(mos2).ranks == (2,)
    assert bond_network(sns).ranks == (2,)


def test_rank_counts_the_directions_in_which_bonds_repeat():
    diamond = Structure.from_spacegroup("Fd-3m", Lattice.cubic(3.567), ["C"], [[0, 0, 0]])
    chain = Structure(Lattice.orthorhombic(1.3, 15, 15), ["C"], [[0, 0, 0]])
    molecule = Structure(Lattice.cubic(12), ["N", "N"], [[0, 0, 0], [1.1 / 12, 0, 0]])
    assert bond_network(diamond).ranks == (3,)
    assert bond_network(chain).ranks == (1,)
    assert bond_network(molecule).ranks == (0,)


@pytest.mark.parametrize("shift", [0.0, 0.45])
def test_the_network_does_not_depend_on_the_origin(mos2, shift):
    moved = Structure(mos2.lattice.matrix, mos2.species, mos2.frac_coords + np.array([shift, -shift, 0]))
    assert bond_network(moved).ranks == (2,)


def test_closest_contact_is_relative_to_covalent_radii():
    pair = Structure(Lattice.cubic(12), ["C", "C"], [[0, 0, 0], [0.76 / 12, 0, 0]])
    assert np.isclose(closest_contact(pair), 0.5)
