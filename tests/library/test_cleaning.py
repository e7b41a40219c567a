import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import DummySpecies, Lattice, Structure

from library.cleaning import CleaningError, clean
from library.geometry import as_periodic

SAME = StructureMatcher(ltol=0.005, stol=0.005, angle_tol=0.2, primitive_cell=False, scale=False)


def assert_same_clean(first: Structure, second: Structure) -> None:
    assert np.allclose(first.lattice.matrix, second.lattice.matrix, atol=1e-6)
    difference = first.frac_coords - second.frac_coords
    assert np.abs(difference - np.rint(difference)).max() < 1e-6


def disguises(layer: Structure) -> dict[str, Structure]:
    """The same crystal as a database may give it."""
    wrapped = Structure(layer.lattice.matrix, layer.species, layer.frac_coords + np.array([0, 0, 0.5]))
    turned = Structure(layer.lattice.matrix[[2, 0, 1]], layer.species, layer.frac_coords[:, [2, 0, 1]])
    axis = np.array([1.0, 2.0, 3.0])
    angle = np.linalg.norm(axis)
    k = np.array([[0, -3.0, 2.0], [3.0, 0, -1.0], [-2.0, 1.0, 0]]) / angle
    rotation = np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k
    tilted = Structure(layer.lattice.matrix @ rotation.T, layer.species, layer.frac_coords)
    sheared = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1]])
    inverse = np.rint(np.linalg.inv(sheared))
    skewed = Structure(sheared @ layer.lattice.matrix, layer.species, layer.frac_coords @ inverse)
    # Vacuum mixed into an in-plane axis: a database cell whose first vector leaves the plane.
    mixed = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1]])
    inverse = np.rint(np.linalg.inv(mixed))
    leaning = Structure(mixed @ layer.lattice.matrix, layer.species, layer.frac_coords @ inverse)
    super_cell = layer.copy()
    super_cell.make_supercell([[2, 1, 0], [0, 3, 0], [0, 0, 1]])
    return {
        "wrapped": wrapped,
        "turned": turned,
        "tilted": tilted,
        "skewed": skewed,
        "leaning": leaning,
        "supercell": super_cell,
    }


@pytest.mark.parametrize("name", ["wrapped", "turned", "tilted", "skewed", "leaning", "supercell"])
@pytest.mark.parametrize("material", ["mos2", "sns"])
def test_every_disguise_gives_the_same_monolayer(material, name, request):
    layer = request.getfixturevalue(material)
    found = clean(disguises(layer)[name])
    assert len(found) == len(layer)
    assert np.allclose(found.lattice.matrix[:2, 2], 0)
    assert 90 - 0.1 <= found.lattice.gamma <= 120.1
    assert np.isclose(found.cart_coords[:, 2].min() + found.cart_coords[:, 2].max(), found.lattice.c)
    assert SAME.fit(as_periodic(found), as_periodic(layer), skip_structure_reduction=True)


@pytest.mark.parametrize("name", ["wrapped", "turned", "tilted", "skewed", "leaning", "supercell"])
def test_cleaning_twice_is_cleaning_once(sns, name):
    once = clean(disguises(sns)[name])
    assert_same_clean(clean(once), once)


def test_a_superstructure_is_not_averaged_away(mos2):
    doubled = mos2.copy()
    doubled.make_supercell([2, 1, 1])
    doubled.translate_sites([0], [0.05 / doubled.lattice.a, 0, 0])
    assert len(clean(doubled)) == 6


def test_a_sheet_of_molecules_in_vacuum_is_kept():
    # N2 standing 3.6 Å apart: no bond in the plane, vacuum along one axis only.
    sheet = Structure(Lattice.orthorhombic(3.6, 3.9, 20), ["N", "N"], [[0, 0, 0.5], [0, 0, 0.5 + 1.1 / 20]])
    assert len(clean(sheet)) == 2


def test_what_is_no_monolayer_is_refused_with_its_reason(mos2):
    diamond = Structure.from_spacegroup("Fd-3m", Lattice.cubic(3.567), ["C"], [[0, 0, 0]])
    molecule = Structure(Lattice.cubic(12), ["N", "N"], [[0, 0, 0], [1.1 / 12, 0, 0]])
    chain = Structure(Lattice.orthorhombic(1.3, 15, 15), ["C"], [[0, 0, 0]])
    stacked = Structure(
        Lattice.hexagonal(3.16, 6.15), mos2.species, [[1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.75], [2 / 3, 1 / 3, 0.25]]
    )
    overlap = mos2.copy()
    overlap.append("S", mos2[1].frac_coords + np.array([0, 0, 0.01]))
    disordered = mos2.copy()
    disordered[1] = {"S": 0.5, "Se": 0.5}
    not_finite = Structure(mos2.lattice, mos2.species, [[np.nan, 0, 0], *mos2.frac_coords[1:]])
    thin = Structure(Lattice([[3, 0, 0], [3, 0.2, 0], [0, 0, 20]]), ["C"], [[0, 0, 0]])
    long = Structure(Lattice.orthorhombic(3, 3, 600), ["C"], [[0, 0, 0]])
    dense = Structure(Lattice.cubic(2), ["C"] * 9, np.random.default_rng(1).random((9, 3)))
    dummy = Structure(mos2.lattice, [DummySpecies("X"), "S", "S"], mos2.frac_coords)
    reasons = {
        "degenerate": thin,
        "degenerate or enormous": long,
        "overlapping atoms": dense,
        "sites without a chemical element": dummy,
        "bulk": diamond,
        "molecules": molecule,
        "molecules or chains": chain,
        "no vacuum": stacked,
        "overlapping": overlap,
        "disordered": disordered,
        "not finite": not_finite,
    }
    for reason, structure in reasons.items():
        with pytest.raises(CleaningError) as caught:
            clean(structure)
        assert caught.value.reason.startswith(reason)


def test_two_layers_far_apart_are_refused(mos2):
    upper = mos2.frac_coords + np.array([0, 0, 0.5])
    two = Structure(mos2.lattice.matrix * [[1], [1], [1.5]], mos2.species * 2, np.vstack([mos2.frac_coords, upper]))
    with pytest.raises(CleaningError) as caught:
        clean(two)
    assert caught.value.reason == "several layers"
