"""Layer groups: known monolayers, with noise, in any cell; and symmetry that is exact once imposed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monolayers import MONOLAYERS, layer
from pymatgen.core.structure import Structure
from strategies import described, displaced, slabs, supercell, unimodular, views

from microscopy.errors import ReconstructionError
from microscopy.slab import plane_cell, slab
from reconstruction.operations import EXACT, layer_dataset, primitive
from reconstruction.symmetry import layer_symmetry


def in_plane_moves(before, after):
    delta = after.frac_coords - before.frac_coords
    delta[:, :2] -= np.round(delta[:, :2])
    return delta @ before.lattice.matrix


@pytest.mark.parametrize("name", MONOLAYERS)
def test_known_layer_group(name):
    structure, number = MONOLAYERS[name]
    found = layer_symmetry(structure)
    assert found.number == number
    assert found.plateau[0] <= found.tolerance <= found.plateau[1]
    assert found.displacement < 1e-6


@pytest.mark.parametrize("name", MONOLAYERS)
@pytest.mark.parametrize("sigma", [0.01, 0.03])
def test_noise_of_known_size_does_not_hide_the_group(name, sigma):
    structure, number = MONOLAYERS[name]
    noisy = displaced(structure, sigma, seed=5)
    found = layer_symmetry(noisy, position_sigma=sigma)
    assert found.number == number
    # Averaging brings the sites nearer to where they were, up to a rigid shift.
    before, after = in_plane_moves(structure, noisy), in_plane_moves(structure, found.symmetrised)
    assert np.ptp(after[:, :2], axis=0).max() <= np.ptp(before[:, :2], axis=0).max() + 1e-9


@pytest.mark.parametrize("name", ["MoS2 1H", "phosphorene", "FeSe"])
def test_a_distortion_beyond_the_errors_is_kept(name):
    structure, _ = MONOLAYERS[name]
    coords = structure.cart_coords.copy()
    coords[0, :2] += (0.11, 0.07)
    distorted = Structure(structure.lattice, structure.species, coords, coords_are_cartesian=True)
    assert layer_symmetry(distorted, position_sigma=0.01).operations < layer_symmetry(structure).operations


@pytest.mark.parametrize("name", MONOLAYERS)
@pytest.mark.parametrize("rows", [[[2, 0], [0, 1]], [[1, 1], [-1, 2]]], ids=["2x1", "index 3"])
def test_supercell_has_the_group_of_the_crystal(name, rows):
    structure, number = MONOLAYERS[name]
    big = displaced(supercell(structure, rows), 0.01, seed=2)
    found = layer_symmetry(big, position_sigma=0.01)
    assert found.number == number
    assert found.symmetrised.species == big.species
    assert layer_dataset(primitive(found.symmetrised, EXACT), EXACT).number == number


@given(view=views(), name=st.sampled_from(sorted(MONOLAYERS)))
@settings(max_examples=25, deadline=None)
def test_group_does_not_depend_on_the_description(view, name):
    structure, number = MONOLAYERS[name]
    assert layer_symmetry(described(structure, view)).number == number


@given(structure=slabs(), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_imposed_symmetry_is_exact_and_imposing_it_again_changes_nothing(structure, seed):
    once = layer_symmetry(displaced(structure, 0.02, seed), position_sigma=0.02)
    assert layer_dataset(once.symmetrised, EXACT) is not None
    again = layer_symmetry(once.symmetrised, [once.tolerance])
    assert again.number == once.number or once.number == 1
    if once.number > 1:
        moves = in_plane_moves(once.symmetrised, again.symmetrised)
        moves[:, 2] -= moves[:, 2].mean()  # a layer has no height of its own
        np.testing.assert_allclose(moves, 0.0, atol=1e-6)


def test_symmetrised_keeps_order_centroid_and_cell_choice():
    structure, _ = MONOLAYERS["CrI3"]
    skewed = slab(
        described(structure, {"rows": [[1, 0], [1, 1]], "angle": 0, "mirror": False, "origin": [0, 0], "seed": 3})
    )
    noisy = displaced(skewed, 0.02, seed=1)
    found = layer_symmetry(noisy, position_sigma=0.02)
    assert found.number == 71
    assert found.symmetrised.species == noisy.species
    np.testing.assert_allclose(plane_cell(found.symmetrised), plane_cell(noisy), atol=1e-6)
    np.testing.assert_allclose(in_plane_moves(noisy, found.symmetrised).mean(axis=0), 0.0, atol=1e-9)
    assert found.displacement <= found.tolerance


def test_strained_cell_gets_the_metric_of_its_group():
    structure, _ = MONOLAYERS["graphene"]
    strained = layer(2.465, 2.455, 120.2, [("C", 1 / 3, 2 / 3, 0), ("C", 2 / 3, 1 / 3, 0)])
    found = layer_symmetry(strained, position_sigma=0.01)
    a, b, _ = found.symmetrised.lattice.abc
    assert found.number == 80
    assert abs(a - b) < 1e-9
    assert abs(found.symmetrised.lattice.gamma - 120) < 1e-7
    assert abs(found.symmetrised.volume / structure.volume - 1) < 0.01


@given(name=st.sampled_from(sorted(MONOLAYERS)), rows=unimodular(), index=st.sampled_from(([2, 1], [1, 3], [2, 2])))
@settings(max_examples=25, deadline=None)
def test_primitive_undoes_a_supercell(name, rows, index):
    structure, _ = MONOLAYERS[name]
    small = primitive(supercell(structure, np.diag(index) @ rows))
    assert len(small) == len(structure)
    assert abs(small.volume / structure.volume - 1) < 1e-6
    assert 60 - 1e-6 <= small.lattice.gamma <= 120 + 1e-6
    if abs(structure.lattice.gamma - 120) < 1e-6:
        assert abs(small.lattice.gamma - 120) < 1e-6


def test_sites_on_top_of_one_another_are_refused():
    structure, _ = MONOLAYERS["graphene"]
    doubled = Structure(
        structure.lattice, [*structure.species, "C"], [*structure.frac_coords, structure.frac_coords[0]]
    )
    with pytest.raises(ReconstructionError, match="no layer group"):
        layer_symmetry(doubled)


@pytest.mark.parametrize(
    "skewed",
    [
        [[-8.035202646961896, -26.899418250786088], [6.089495262750807, 15.914980014063952]],
        [[-16.16577632776269, -26.20678170250047], [-6.2574248898021985, -11.446458232384547]],
    ],
)
def test_reduction_ends_on_ties(skewed):
    """Rotated hexagonal cells whose reduction went back and forth between choices equal to round-off."""
    matrix = np.zeros((3, 3))
    matrix[:2, :2] = skewed
    matrix[2, 2] = 25.0
    assert abs(primitive(Structure(matrix, ["C"], [[0, 0, 0.5]])).lattice.gamma - 120) < 1e-6
