from __future__ import annotations

import numpy as np
import pytest
from images import graphene, linear_image, mos2, mos2_1t, oblique, tin_sulfide, turn

from benchmarks.columns import projected_columns, tiled
from benchmarks.label_matching import BIN, LabelMatcher, descriptor, eight_bit, label_image, spots
from library.records import Template
from microscopy.slab import plane_cell

SHAPE, PIXEL = (200, 260), (0.16, 0.16)
STRUCTURES = {"graphene": graphene(), "1H": mos2(), "1T": mos2_1t(), "SnS": tin_sulfide(), "oblique": oblique()}
TEMPLATES = [Template(name, each, each.composition.reduced_formula, "test") for name, each in STRUCTURES.items()]


@pytest.fixture(scope="module")
def matcher() -> LabelMatcher:
    return LabelMatcher.of(TEMPLATES, PIXEL, SHAPE)


def test_a_label_shows_every_column_once() -> None:
    cell = plane_cell(graphene())
    columns = projected_columns(graphene().frac_coords[:, :2] @ cell, np.ones(2), cell)
    within = tiled(columns, cell, ((SHAPE[1] - 1) * 0.16, (SHAPE[0] - 1) * 0.16), margin=-0.5).positions
    found = spots(label_image(TEMPLATES[0], PIXEL, SHAPE), opened=False)[:, ::-1] * 0.16
    distances = np.linalg.norm(within[:, None] - found, axis=2)
    assert distances.min(axis=1).max() < 0.16
    assert len(set(distances.argmin(axis=1))) == len(within)


def test_spots_are_the_bright_discs() -> None:
    image = np.zeros((60, 90), dtype=np.uint8)
    for row, column in ((10, 20), (40, 70), (30, 33)):
        image[row - 2 : row + 3, column - 2 : column + 3] = 200
    image[50, 10:12] = 200  # too small, and opening removes it anyway
    for opened in (False, True):
        assert sorted(map(tuple, spots(image, opened=opened))) == [(10, 20), (30, 33), (40, 70)]


def test_opening_removes_single_pixels() -> None:
    image = np.zeros((40, 50), dtype=np.uint8)
    image[10:15, 10:15] = 255
    image[30, 20:27] = 255  # a line of seven pixels, one wide
    assert len(spots(image, opened=True)) == 1
    assert len(spots(image, opened=False)) == 2


def test_the_descriptor_is_the_histogram_of_pair_distances() -> None:
    centroids = np.array([[0.0, 0.0], [0.0, 7.0], [24.0, 0.0]])  # 7, 24 and 25 apart
    assert descriptor(centroids) == pytest.approx(np.array([0, 1, 0, 0, 1, 1]) / 3)
    assert BIN == 5.0
    assert descriptor(centroids[:1]).size == 0


def test_the_descriptor_knows_neither_rotation_nor_origin() -> None:
    centroids = np.random.default_rng(0).uniform(0, 100, size=(40, 2))
    assert descriptor(centroids @ turn(31.0) + 12.0) == pytest.approx(descriptor(centroids), abs=0.01)


def test_a_label_is_nearest_to_itself(matcher) -> None:
    for id, label in zip(matcher.ids, matcher.labels, strict=True):
        ranked = matcher.rank(label)
        assert (ranked[0][0], len(ranked)) == (id, len(TEMPLATES))


def test_describing_every_label_again_changes_nothing(matcher) -> None:
    image = linear_image(graphene(), shape=SHAPE, pixel=0.16, noise=0.0)[0].image
    assert matcher.rank(image, all_pairs=True) == matcher.rank(image)


def test_an_image_without_noise_is_recognised(matcher) -> None:
    image = linear_image(graphene(), shape=SHAPE, pixel=0.16, noise=0.0, matrix=turn(23.0))[0].image
    assert matcher.rank(image)[0][0] == "graphene"


def test_the_elements_decide_among_the_nearest_only(matcher) -> None:
    ranked = [("graphene", 0.1), ("SnS", 0.2), ("1H", 0.3), ("oblique", 0.4)]
    assert matcher.choose(ranked, {"Mo", "S"}) == "1H"
    assert matcher.choose(ranked, {"S", "Sn"}) == "SnS"
    assert matcher.choose(ranked, {"Pd", "Se", "Cl"}) == "graphene"  # the fourth is too far


def test_grey_levels_use_the_whole_range() -> None:
    image = np.linspace(-3, 5, 12).reshape(3, 4)
    levels = eight_bit(image)
    assert (levels.min(), levels.max(), levels.dtype) == (0, 255, np.uint8)
    assert not eight_bit(np.full((3, 4), 2.0)).any()
