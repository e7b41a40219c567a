"""The protocol's images: of the crystal, worse from level to level, the same for the same seed."""

import numpy as np
import pytest
from monolayers import MONOLAYERS

from benchmarks.stem2crystal.noise import LEVELS, PIXEL_SIZE, SHAPE, render
from microscopy.micrograph import Modality
from microscopy.scan import raster
from microscopy.slab import plane_cell

STRUCTURE = MONOLAYERS["MoS2 1H"][0]


@pytest.fixture(scope="module")
def images():
    return {level: render(STRUCTURE, level, 5)[0].image for level in LEVELS}


def test_an_image_is_grey_from_0_to_1_and_says_what_it_is():
    micrograph, _ = render(STRUCTURE, "mid", 5)
    assert micrograph.image.shape == SHAPE
    assert (micrograph.image.min(), micrograph.image.max()) == (0.0, 1.0)
    assert micrograph.pixel_size == (PIXEL_SIZE, PIXEL_SIZE)
    assert micrograph.modality is Modality.HAADF
    assert micrograph.dose is None
    assert micrograph.elements is None


def test_the_same_seed_gives_the_same_bytes_and_another_another_view():
    first, again, other = (render(STRUCTURE, "high", seed) for seed in (5, 5, 6))
    assert np.array_equal(first[0].image, again[0].image)
    assert first[0].sha256 == again[0].sha256 != other[0].sha256
    assert not np.allclose(first[1], other[1])


def test_levels_differ_in_noise_and_not_in_view(images):
    matrices = [render(STRUCTURE, level, 5)[1] for level in LEVELS]
    assert all(np.array_equal(matrices[0], matrix) for matrix in matrices)
    # Pixel-to-pixel differences of a smooth signal are its noise.
    noise = [float(np.std(np.diff(image, axis=1)) / image.std()) for image in images.values()]
    assert noise[0] < noise[1] < noise[2]
    assert np.corrcoef(images["low"].ravel(), images["high"].ravel())[0, 1] > 0.3


def test_the_brightest_pixels_stand_on_the_heaviest_columns(images):
    """In the frame of the map that is returned, all bright pixels have the phase of the metal, up to one origin."""
    _, matrix = render(STRUCTURE, "low", 5)
    points = raster(SHAPE, (PIXEL_SIZE, PIXEL_SIZE)).reshape(-1, 2)
    bright = points[np.argsort(images["low"].ravel())[-400:]]
    frac = bright @ np.linalg.inv(plane_cell(STRUCTURE) @ matrix.T)
    assert np.abs(np.exp(2j * np.pi * frac).mean(axis=0)).min() > 0.9


def test_scan_lines_jitter_along_x_only():
    jitter = [level.jitter for level in LEVELS.values()]
    assert jitter == sorted(jitter)
    assert jitter[0] > 0
