"""Defects planted in images of the linear model: atoms are added and taken away, and the noise is known."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypotheses import hypothesis
from images import graphene, linear_image, mos2, oblique, turn
from scipy.ndimage import gaussian_filter

from microscopy.linear import scattering, transfer
from microscopy.micrograph import Modality
from microscopy.optics import Optics
from microscopy.slab import plane_cell
from reconstruction.point_defects import DETECTABLE, find_point_defects
from reconstruction.point_field import EDGE, MIN_CELLS
from reconstruction.reconstruct import reconstruct

ORIGIN = np.array([1.3, 2.1])
SHAPE = (200, 240)
PIXEL = 0.16


@cache
def frequencies(shape, modality):
    """(gy, gx, q, transfer) on the grid of the pixels' Fourier transform."""
    gy, gx = np.fft.fftfreq(shape[0], PIXEL)[:, None], np.fft.fftfreq(shape[1], PIXEL)[None, :]
    g = np.stack(np.broadcast_arrays(gx, gy), axis=-1)
    return gy, gx, np.linalg.norm(g, axis=-1), transfer(g.reshape(-1, 2), Optics(modality)).reshape(shape)


@cache
def wave(number, shape, modality):
    _, _, q, seen = frequencies(shape, modality)
    return scattering(np.array([number]), q.ravel(), modality)[0].reshape(shape) * seen


def atom(number, place, shape, modality):
    """Image of one atom, by its Fourier integral on the periodic pixel grid: independent of the code under test."""
    gy, gx, _, _ = frequencies(shape, modality)
    phases = np.exp(-2j * np.pi * gy * place[1]) * np.exp(-2j * np.pi * gx * place[0])
    return np.real(np.fft.ifft2(wave(number, shape, modality) * phases)) / PIXEL**2


def planted(structure, defects, *, noise=0.3, seed=0, modality=Modality.HAADF, shape=SHAPE):
    """Micrograph with (site, cell, atomic number or None) changed, and where those columns are, (x, y) in Å."""
    micrograph, cell = linear_image(structure, origin=tuple(ORIGIN), noise=0.0, modality=modality, shape=shape)
    image = micrograph.image.astype(float)
    level = image.std()
    places = [(structure.frac_coords[site, :2] + at) @ cell + ORIGIN for site, at, _ in defects]
    for (site, _, number), place in zip(defects, places, strict=True):
        image -= atom(structure[site].specie.Z, place, shape, modality)
        if number:
            image += atom(number, place, shape, modality)
    image += noise * level * np.random.default_rng(seed).normal(size=shape)
    return replace(micrograph, image=image.astype(np.float32)), np.array(places).reshape(-1, 2)


def perfect(structure, micrograph):
    return reconstruct(micrograph, hypothesis(structure, micrograph))


def sites_inside(structure, margin=3.0):
    """(site, cell) of all atoms well inside the image, with their places."""
    cell = plane_cell(structure) @ turn(17.0).T
    far = np.array(SHAPE[::-1]) * PIXEL - margin
    found = []
    for i in range(-20, 21):
        for j in range(-20, 21):
            for site in range(len(structure)):
                place = (structure.frac_coords[site, :2] + (i, j)) @ cell + ORIGIN
                if (place > margin).all() and (place < far).all():
                    found.append((site, (i, j), place))
    return found


def middle(structure, site=0, place=(19.0, 16.0)):
    """Cell of the atom of that index nearest a place."""
    every = [
        (np.linalg.norm(xy - np.array(place)), cell) for index, cell, xy in sites_inside(structure) if index == site
    ]
    return min(every)[1]


def draw(structure, count, seed, apart=4.0):
    """Sites drawn at random, no two near each other."""
    rng = np.random.default_rng(seed)
    every = sites_inside(structure)
    chosen = []
    for at in rng.permutation(len(every)):
        site, cell, place = every[at]
        if all(np.linalg.norm(place - other[2]) > apart for other in chosen):
            chosen.append((site, cell, place))
        if len(chosen) == count:
            break
    assert len(chosen) == count
    return [(site, cell) for site, cell, _ in chosen]


def matched(found, places):
    """Index of the planted defect at each one found; -1 where there is none."""
    distance = np.linalg.norm(np.array([each.position for each in found])[:, None] - places[None], axis=2)
    return np.where(distance.min(axis=1) < 0.3, distance.argmin(axis=1), -1)


@pytest.mark.parametrize("modality", [Modality.HAADF, Modality.IDPC])
def test_planted_defects_are_found_where_they_are_and_named(modality):
    structure = mos2()
    # Mo (0) missing or replaced by W, one of two S (1) missing or replaced by Se.
    instead = {0: (None, 74), 1: (None, 34), 2: (None, 34)}
    defects = [(site, cell, instead[site][n % 2]) for n, (site, cell) in enumerate(draw(structure, 10, seed=3))]
    assert {site > 0 for site, _, _ in defects} == {True, False}
    micrograph, places = planted(structure, defects, modality=modality, noise=0.2)
    result = find_point_defects(micrograph, perfect(structure, micrograph))
    assert len(result.found) == len(defects)
    which = matched(result.found, places)
    assert sorted(which) == list(range(len(defects)))
    symbol = {None: None, 74: "W", 34: "Se"}
    for each, index in zip(result.found, which, strict=True):
        site, _, number = defects[index]
        assert each.element == structure[site].specie.symbol
        assert each.replaced_by == symbol[number]
        assert each.kind == ("substitution" if number else "vacancy")
        assert each.probability > 0.5
        if number is None:
            assert each.strength == pytest.approx(-1.0, abs=0.25)
        else:
            assert each.strength > 0.2
    assert all(snr > DETECTABLE for snr in result.detectable.values())


def test_position_is_that_of_cell_and_site():
    structure = oblique()
    micrograph, places = planted(structure, [(1, middle(structure, site=1), None)])
    crystal = perfect(structure, micrograph)
    (found,) = find_point_defects(micrograph, crystal).found
    candidate = crystal.candidate
    expected = (crystal.structure.frac_coords[found.site, :2] + found.cell) @ candidate.cell + candidate.shift
    assert found.position == pytest.approx(tuple(expected), abs=1e-6)
    assert found.position == pytest.approx(tuple(places[0]), abs=0.1)
    assert crystal.structure[found.site].specie.symbol == found.element == "Se"


def test_two_missing_atoms_of_one_column_are_one_defect_of_twice_the_strength():
    structure = mos2()
    cell = middle(structure, site=1)
    micrograph, _ = planted(structure, [(1, cell, None), (2, cell, None)], noise=0.2)
    (found,) = find_point_defects(micrograph, perfect(structure, micrograph)).found
    assert found.kind == "vacancy"
    assert found.strength == pytest.approx(-2.0, abs=0.3)


def test_a_pair_of_neighbours_is_two_defects():
    structure = graphene()
    cell = sites_inside(structure)[len(sites_inside(structure)) // 2][1]
    micrograph, places = planted(structure, [(0, cell, None), (1, cell, None)], noise=0.2)
    found = find_point_defects(micrograph, perfect(structure, micrograph)).found
    assert sorted(matched(found, places)) == [0, 1]


@pytest.mark.parametrize("noise", [0.05, 0.5, 1.5])
def test_a_perfect_crystal_gives_no_alarm(noise):
    examined = alarms = 0
    for seed in range(3):
        micrograph, _ = planted(mos2(), [], noise=noise, seed=seed)
        result = find_point_defects(micrograph, perfect(mos2(), micrograph))
        examined += result.sites
        alarms += len(result.found)
        assert max(result.detectable.values()) > DETECTABLE  # it did look
    assert examined > 600
    assert alarms == 0


def test_slow_changes_and_background_are_no_defects():
    micrograph, _ = planted(mos2(), [], noise=0.2)
    image = micrograph.image
    fading = 1 + 0.2 * np.linspace(-1, 1, image.shape[1])
    dirt = gaussian_filter(np.random.default_rng(1).normal(size=image.shape), 40)
    image = image * fading + image.std() * dirt / dirt.std()
    micrograph = replace(micrograph, image=image.astype(np.float32))
    assert find_point_defects(micrograph, perfect(mos2(), micrograph)).found == ()


def test_below_the_dose_nothing_is_reported_and_the_note_says_why():
    structure = graphene()
    defects = [(site, cell, None) for site, cell in draw(structure, 8, seed=1)]
    micrograph, places = planted(structure, defects, noise=4.0)
    result = find_point_defects(micrograph, perfect(structure, micrograph))
    assert result.found == ()
    assert 0 < result.detectable["C"] < DETECTABLE
    assert f"A missing C would be {result.detectable['C']:.1f} standard errors" in result.note
    assert "times the dose" in result.note
    # The same defects with less noise are found: it is the dose that forbids.
    micrograph, places = planted(structure, defects, noise=0.8)
    result = find_point_defects(micrograph, perfect(structure, micrograph))
    assert sorted(matched(result.found, places)) == list(range(8))
    assert result.note == ""


def test_signal_over_error_grows_as_the_root_of_the_dose():
    errors = []
    for noise in (0.4, 0.8):
        micrograph, _ = planted(mos2(), [], noise=noise, seed=2)
        errors.append(find_point_defects(micrograph, perfect(mos2(), micrograph)).detectable["Mo"])
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.15)


def test_an_element_that_cannot_be_seen_is_said_so_and_others_are_found():
    structure = mos2()
    micrograph, places = planted(structure, [(0, middle(structure), None)], noise=1.5)
    result = find_point_defects(micrograph, perfect(structure, micrograph))
    assert result.detectable["S"] < DETECTABLE < result.detectable["Mo"]
    assert "A missing S" in result.note
    assert "A missing Mo" not in result.note
    assert list(matched(result.found, places)) == [0]


def test_columns_at_the_border_are_not_judged():
    structure = mos2()
    cell = plane_cell(structure) @ turn(17.0).T
    near = []
    for i in range(-20, 21):
        for j in range(-20, 21):
            x, y = (structure.frac_coords[0, :2] + (i, j)) @ cell + ORIGIN
            if 0.0 < x < EDGE - 0.3 and 3 < y < SHAPE[0] * PIXEL - 3:
                near.append((0, (i, j), None))
    assert near
    micrograph, _ = planted(structure, near, noise=0.2)
    result = find_point_defects(micrograph, perfect(structure, micrograph))
    far = np.array(SHAPE[::-1]) * PIXEL - EDGE
    for each in result.found:
        assert (np.array(each.position) >= EDGE - PIXEL).all()
        assert (np.array(each.position) <= far + PIXEL).all()
    assert not any(each.position[0] < EDGE for each in result.found)


def test_masked_pixels_hide_what_is_under_them():
    structure = mos2()
    cells = middle(structure), middle(structure, place=(10.0, 8.0))
    micrograph, places = planted(structure, [(0, cell, None) for cell in cells], noise=0.2)
    crystal = perfect(structure, micrograph)
    x, y = np.rint(places[0] / PIXEL).astype(int)
    mask = np.ones(SHAPE, dtype=bool)
    mask[y - 2 : y + 3, x - 2 : x + 3] = False
    spoilt = micrograph.image.copy()
    spoilt[~mask] = 1e3 * np.abs(spoilt).max()
    result = find_point_defects(replace(micrograph, image=spoilt, mask=mask), crystal)
    assert list(matched(result.found, places)) == [1]


def test_another_crystal_is_not_this_one_full_of_defects():
    structure = graphene()
    every = sites_inside(structure, margin=1.0)
    rng = np.random.default_rng(4)
    replaced = [(site, cell, 14) for site, cell, _ in every if rng.uniform() < 0.3]
    micrograph, _ = planted(structure, replaced, noise=0.1)
    pristine, _ = planted(structure, [], noise=0.1)
    result = find_point_defects(micrograph, perfect(structure, pristine))
    assert result.found == ()
    assert "another crystal" in result.note


def test_too_few_cells():
    micrograph, _ = linear_image(mos2(), noise=0.1)
    crystal = perfect(mos2(), micrograph)
    small = replace(micrograph, image=micrograph.image[:40, :44])
    result = find_point_defects(small, crystal)
    assert result.sites == 0
    assert str(MIN_CELLS) in result.note


def test_input_is_left_alone():
    micrograph, _ = planted(mos2(), [(0, middle(mos2()), None)])
    crystal = perfect(mos2(), micrograph)
    before = micrograph.image.copy()
    first = find_point_defects(micrograph, crystal)
    assert (micrograph.image == before).all()
    assert find_point_defects(micrograph, crystal) == first
