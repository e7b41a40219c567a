"""Missing and replaced atoms: what is added to a perfect crystal is what multislice of the defective one gives."""

from dataclasses import replace

import numpy as np
import pytest
from monolayers import layer
from pymatgen.core.structure import Structure

from microscopy import defects, supercell
from microscopy.artefacts import strengths
from microscopy.defects import RADIUS, Defect, draw_defects, place_defects, substitute
from microscopy.errors import SimulationError
from microscopy.micrograph import Modality
from microscopy.multislice import cell_images
from microscopy.optics import Optics
from microscopy.recording import stream
from microscopy.scan import View
from microscopy.simulation import SimulationOptions, simulate
from microscopy.slab import plane_cell, slab

OPTICS = Optics(convergence_angle=14.0, detector=(3.0, 14.5))
"""A smaller probe than usual: a quarter of the positions."""

FIELD = (40.0, 30.0)


@pytest.fixture(autouse=True)
def narrow_window(monkeypatch):
    """Small boxes, and the probe positions that the small probe asks for: geometry is tested, not convergence."""
    monkeypatch.setattr(supercell, "WINDOW", 8.0)
    monkeypatch.setattr(defects, "STEP", 0.3)


@pytest.fixture
def structure():
    """Two atoms of unlike weight in a rectangle."""
    return layer(3.2, 3.6, 90, [("Mo", 0.1, 0.2, 0.0), ("S", 0.6, 0.55, 0.8)])


@pytest.mark.parametrize("element", [None, pytest.param("Se", marks=pytest.mark.slow)])
def test_added_change_is_that_of_a_multislice_of_the_defective_crystal(structure, element, monkeypatch):
    monkeypatch.setattr(supercell, "WINDOW", 12.0)
    big = structure.copy()
    big.make_supercell([4, 4, 1])
    place = structure.frac_coords[1, :2] @ plane_cell(structure)
    chosen = int(np.argmin([np.linalg.norm(site.coords[:2] - place) for site in big]))
    defective = big.copy()
    if element is None:
        defective.remove_sites([chosen])
    else:
        defective.replace(chosen, element)
    axis = np.linspace(-3.5, 3.5, 29)
    points = np.stack(np.meshgrid(axis, axis), axis=-1) + place
    expected = cell_images(slab(defective), OPTICS).sample(points) - cell_images(slab(big), OPTICS).sample(points)
    (placed,) = place_defects([Defect("x", 1, (0, 0), element)], structure, OPTICS, 0.0, 0.0, None)
    found = np.zeros_like(expected)
    placed.add_to(found, points)
    # The two boxes repeat the defect at other distances, and the tails of the probe reach there.
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_nothing_changes_far_from_a_defect(structure):
    (placed,) = place_defects([Defect("vacancy", 0, (0, 0))], structure, OPTICS, 0.0, 0.0, None)
    points = placed.centre + np.array([[[RADIUS + 0.01, 0.0], [0.0, -RADIUS - 2.0]]])
    before = np.full((4, 1, 2), 0.25)
    after = before.copy()
    placed.add_to(after, points)
    assert np.array_equal(before, after)


def test_the_change_turns_with_the_box(structure):
    """The same defect described with the axes of the cell exchanged: box and slab frame turn by a right angle."""
    rows = np.array([[0, 1], [-1, 0]])
    other = Structure(
        np.vstack([np.column_stack([rows @ plane_cell(structure), np.zeros(2)]), structure.lattice.matrix[2]]),
        structure.species,
        structure.cart_coords,
        coords_are_cartesian=True,
    )
    turned = slab(other)
    angle = np.arctan2(*(rows[0] @ plane_cell(structure))[::-1])
    back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = np.random.default_rng(0).uniform(-3, 3, (1, 50, 2))
    optics = replace(OPTICS, modality=Modality.ADF, detector=(40.0, 80.0))
    found = []
    for each, turn in ((structure, np.eye(2)), (turned, back)):
        (placed,) = place_defects([Defect("vacancy", 0, (0, 0))], each, optics, 0.0, 0.0, None)
        fractions = np.zeros((1, 1, 50))
        placed.add_to(fractions, points @ turn + placed.centre)
        found.append(fractions)
    assert np.abs(found[0] - found[1]).max() < 0.05 * np.abs(found[0]).max()


@pytest.mark.parametrize("name", ["vacancies", "substitutions"])
def test_the_share_of_sites_drawn_is_the_strength(structure, name):
    view = View(np.array([[0.8, -0.6], [0.6, 0.8]]), np.array([1.0, 2.0]))
    artefacts = strengths({name: 0.1})
    drawn = [draw_defects(structure, view, FIELD, artefacts, np.random.default_rng(seed)) for seed in range(20)]
    area = (FIELD[0] + 2 * RADIUS) * (FIELD[1] + 2 * RADIUS)
    sites = area * len(structure) / abs(np.linalg.det(plane_cell(structure)))
    counts = [len(each) for each in drawn]
    assert np.mean(counts) == pytest.approx(0.1 * sites, rel=0.05)
    assert {each.kind for each in drawn[0]} == {"vacancy" if name == "vacancies" else "substitution"}
    assert len({(each.site, each.cell) for each in drawn[0]}) == len(drawn[0])


def test_a_site_is_missing_or_replaced_not_both(structure):
    view = View(np.eye(2), np.zeros(2))
    drawn = draw_defects(
        structure, view, FIELD, strengths({"vacancies": 0.5, "substitutions": 0.5}), np.random.default_rng(1)
    )
    assert len({(each.site, each.cell) for each in drawn}) == len(drawn)
    assert {each.kind for each in drawn} == {"vacancy", "substitution"}


@pytest.mark.parametrize(
    ("symbol", "other"), [("S", "Se"), ("Mo", "W"), ("C", "Si"), ("H", "Li"), ("Au", "Cu"), ("Bi", "Sb")]
)
def test_the_substitute_is_of_the_same_group(symbol, other):
    found = substitute(symbol)
    if symbol in ("Au", "Bi"):  # the seventh period begins with elements that nobody images
        assert found in {other, "Ag"}
    else:
        assert found == other


def test_an_image_with_defects_tells_where_they_are(structure, tmp_path):
    options = SimulationOptions(
        optics=OPTICS, shape=(120, 170), pixel_size=(0.2, 0.2), rotation=20.0, mirror=True, seed=3
    )
    clean = simulate(structure, options, tmp_path)
    found = simulate(structure, replace(options, artefacts={"vacancies": 0.03}), tmp_path)
    assert clean.truth.defects == ()
    assert found.truth.defects
    again = simulate(structure, replace(options, artefacts={"vacancies": 0.03}), tmp_path)
    assert np.array_equal(again.micrograph.image, found.micrograph.image)
    assert again.truth.defects == found.truth.defects
    change = np.abs(found.micrograph.image - clean.micrograph.image)
    inside = [d for d in found.truth.defects if 2 < d.position[0] < 32 and 2 < d.position[1] < 22]
    assert inside
    for defect in inside:
        x, y = (round(v / 0.2) for v in defect.position)
        assert change[y - 2 : y + 3, x - 2 : x + 3].max() > 3 * np.median(change)
    written = found.truth.to_json()["defects"]
    assert written[0]["kind"] == "vacancy"
    assert written[0]["element"] is None


def test_strength_zero_leaves_every_byte(structure, tmp_path):
    options = SimulationOptions(optics=OPTICS, shape=(64, 80), pixel_size=(0.2, 0.2), dose=1e4, seed=3)
    nothing = {"vacancies": 0.0, "substitutions": 0.0, "astigmatism": 0.0}
    first = simulate(structure, options, tmp_path).micrograph.image
    assert np.array_equal(first, simulate(structure, replace(options, artefacts=nothing), tmp_path).micrograph.image)


def test_more_than_half_the_atoms_missing_is_no_crystal(structure):
    with pytest.raises(SimulationError, match="vacancies"):
        simulate(structure, SimulationOptions(artefacts={"vacancies": 0.7}))


def width(image, direction):
    """Second moment of a single spot along a direction (x, y)."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(float)
    weight = np.clip(image - np.median(image), 0, None)
    weight /= weight.sum()
    cx, cy = (weight * x).sum(), (weight * y).sum()
    along = (x - cx) * direction[0] + (y - cy) * direction[1]
    return float((weight * along**2).sum())


@pytest.mark.parametrize("rotation", [0.0, 70.0])
def test_astigmatism_keeps_its_direction_in_the_image(rotation):
    """One heavy atom, overfocused by the strength: in focus along one direction, twice out of focus across it."""
    single = layer(9.0, 8.0, 90, [("W", 0.0, 0.0, 0.0)])
    dark = Optics(Modality.ADF, convergence_angle=14.0, detector=(40.0, 80.0))
    options = SimulationOptions(
        optics=dark,
        shape=(50, 50),
        pixel_size=(0.15, 0.15),
        rotation=rotation,
        mirror=rotation > 0,
        origin=(3.75, 3.75),
        seed=11,
        artefacts={"astigmatism": 60.0, "defocus": -60.0},
    )
    image = simulate(single, options).micrograph.image
    angles = np.arange(0, 180, 5.0)
    widths = [width(image, (np.cos(np.deg2rad(a)), np.sin(np.deg2rad(a)))) for a in angles]
    drawn = stream(options, "astigmatism").uniform(0, 2 * np.pi)
    narrow = angles[int(np.argmin(widths))]
    assert abs((narrow - np.rad2deg(drawn) + 90) % 180 - 90) <= 10
    assert max(widths) > 1.5 * min(widths)


def test_turning_astigmatism_by_a_right_angle_changes_its_sign():
    single = layer(9.0, 8.0, 90, [("W", 0.0, 0.0, 0.0)])
    base = replace(OPTICS, defocus=100.0, astigmatism=150.0, astigmatism_angle=25.0)
    turned = cell_images(single, replace(base, astigmatism_angle=115.0)).fractions
    assert np.allclose(turned, cell_images(single, replace(base, astigmatism=-150.0)).fractions, atol=1e-7)
    assert not np.allclose(turned, cell_images(single, base).fractions, atol=1e-4)
