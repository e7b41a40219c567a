import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import graphene, oblique, tin_sulfide
from images import mos2 as molybdenum_disulfide
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import DummySpecies, Lattice, Structure

from library.cleaning import CleaningError, clean
from library.fingerprint import fingerprint
from library.geometry import as_periodic
from microscopy.optics import Optics
from microscopy.slab import slab

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
    far = layer.frac_coords.copy()
    far[0] += [5000, -300, 40]
    strewn = Structure(layer.lattice.matrix, layer.species, far)
    super_cell = layer.copy()
    super_cell.make_supercell([[2, 1, 0], [0, 3, 0], [0, 0, 1]])
    return {
        "wrapped": wrapped,
        "turned": turned,
        "tilted": tilted,
        "skewed": skewed,
        "leaning": leaning,
        "strewn": strewn,
        "supercell": super_cell,
    }


@pytest.mark.parametrize("name", ["wrapped", "turned", "tilted", "skewed", "leaning", "strewn", "supercell"])
@pytest.mark.parametrize("material", ["mos2", "sns"])
def test_every_disguise_gives_the_same_monolayer(material, name, request):
    layer = request.getfixturevalue(material)
    found = clean(disguises(layer)[name])
    assert len(found) == len(layer)
    assert np.allclose(found.lattice.matrix[:2, 2], 0)
    assert 90 - 0.1 <= found.lattice.gamma <= 120.1
    assert np.isclose(found.cart_coords[:, 2].min() + found.cart_coords[:, 2].max(), found.lattice.c)
    assert SAME.fit(as_periodic(found), as_periodic(layer), skip_structure_reduction=True)


@pytest.mark.parametrize("name", ["wrapped", "turned", "tilted", "skewed", "leaning", "strewn", "supercell"])
def test_cleaning_twice_is_cleaning_once(sns, name):
    once = clean(disguises(sns)[name])
    assert_same_clean(clean(once), once)


MONOLAYERS = {"graphene": graphene(), "MoS2": molybdenum_disulfide(), "SnS": tin_sulfide(), "oblique": oblique()}
SUPERCELLS = [((1, 0), (0, 1)), ((2, 0), (0, 1)), ((1, 1), (-1, 2)), ((1, 3), (0, 1)), ((2, 1), (1, 3))]


def disguised(layer: Structure, supercell, seed: int) -> Structure:
    """The same crystal in a supercell, with any order of axes and sites, any origin, turned and perhaps mirrored."""
    rng = np.random.default_rng(seed)
    crystal = as_periodic(layer)
    (a, b), (c, d) = supercell
    crystal.make_supercell([[a, b, 0], [c, d, 0], [*rng.integers(-1, 2, 2), 1]])
    axes, sites = np.eye(3)[rng.permutation(3)], rng.permutation(len(crystal))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    frac = crystal.frac_coords @ axes.T + rng.random(3)
    matrix = axes @ crystal.lattice.matrix @ rotation.T
    return Structure(Lattice(matrix), [crystal.species[site] for site in sites], frac[sites])


def assert_same_crystal(found: Structure, layer: Structure, tolerance: float = 1e-4) -> None:
    assert len(found) == len(layer)
    assert np.isclose(found.cart_coords[:, 2].min() + found.cart_coords[:, 2].max(), found.lattice.c)
    assert np.allclose(found.lattice.matrix[:2, 2], 0)
    assert np.allclose(found.lattice.matrix[2, :2], 0)
    assert 90 - 0.1 <= found.lattice.gamma <= 120 + 0.1
    assert SAME.fit(as_periodic(found), as_periodic(layer), skip_structure_reduction=True)
    assert fingerprint(found, Optics()) @ fingerprint(layer, Optics()) == pytest.approx(1.0, abs=tolerance)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(MONOLAYERS)),
    supercell=st.sampled_from(SUPERCELLS),
    vacuum=st.sampled_from([8.0, 12.0, 20.0]),
    seed=st.integers(0, 2**16),
)
def test_cleaning_undoes_whatever_a_database_may_do(name, supercell, vacuum, seed):
    layer = MONOLAYERS[name]
    found = clean(disguised(slab(layer, vacuum), supercell, seed))
    assert_same_crystal(found, layer)
    assert_same_clean(clean(found), found)


@settings(max_examples=20, deadline=None)
@given(name=st.sampled_from(sorted(MONOLAYERS)), supercell=st.sampled_from(SUPERCELLS), seed=st.integers(0, 2**16))
def test_rounded_coordinates_change_nothing_but_themselves(name, supercell, seed):
    layer = MONOLAYERS[name]
    crystal = disguised(layer, supercell, seed)
    scatter = np.random.default_rng(seed).normal(0, 1e-3, (len(crystal), 3))
    found = clean(Structure(crystal.lattice, crystal.species, crystal.cart_coords + scatter, coords_are_cartesian=True))
    assert_same_crystal(found, layer, 1e-3)
    # The lattice is that of the supercell, exactly: the scatter of a site must not enter it.
    assert sorted(found.lattice.abc[:2]) == pytest.approx(sorted(clean(layer).lattice.abc[:2]), abs=1e-6)


@pytest.mark.parametrize("a", [3.1600001, 3.1599999, 3.161])
def test_a_nearly_hexagonal_cell_is_left_as_it_is(mos2, a):
    lattice = Lattice.from_parameters(a, 3.16, 25.0, 90, 90, 119.998)
    found = clean(Structure(lattice, mos2.species, mos2.frac_coords))
    assert found.lattice.abc[:2] == pytest.approx((a, 3.16))
    assert found.lattice.gamma == pytest.approx(119.998)


def test_a_cell_wider_than_it_is_high_keeps_its_layer(mos2):
    wide = as_periodic(slab(mos2, 8.0))
    wide.make_supercell([5, 5, 1])
    wide.translate_sites([0], [0.02, 0, 0])
    assert wide.lattice.c < wide.lattice.a
    assert len(clean(wide)) == len(wide)


@settings(max_examples=20, deadline=None)
@given(scatter=st.floats(0.001, 0.03), seed=st.integers(0, 2**16))
def test_near_translations_count_alike_in_every_cell(scatter, seed):
    # A superstructure whose distortion is about the tolerance: whether it counts must not depend on the cell given.
    tripled = as_periodic(molybdenum_disulfide())
    tripled.make_supercell([3, 1, 1])
    moved = np.random.default_rng(seed).normal(0, scatter, (len(tripled), 3))
    tripled = Structure(tripled.lattice, tripled.species, tripled.cart_coords + moved, coords_are_cartesian=True)
    doubled = tripled.copy()
    doubled.make_supercell([1, 2, 1])
    once = clean(tripled)
    assert len(once) in (3, 9)
    assert len(clean(doubled)) == len(once)
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
    away = Structure(mos2.lattice, mos2.species, mos2.frac_coords + np.array([[0, 1e5, 0], [0, 0, 0], [0, 0, 0]]))
    dummy = Structure(mos2.lattice, [DummySpecies("X"), "S", "S"], mos2.frac_coords)
    reasons = {
        "degenerate": thin,
        "degenerate or enormous": long,
        "overlapping atoms": dense,
        "atoms far outside": away,
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
