"""Folding an image onto its cell: signal kept, noise averaged as √n, frames as stated."""

import numpy as np
import pytest

from microscopy.errors import ReconstructionError
from reconstruction.cell_average import cell_average

CELL = np.array([[3.1, 0.4], [-1.2, 2.7]])
SHIFT = np.array([1.3, 0.7])
PIXEL = (0.11, 0.13)


def wave(u, v):
    """A periodic function without symmetry between u and v."""
    return 1.0 + np.cos(2 * np.pi * u) + 0.5 * np.sin(2 * np.pi * (u - 2 * v)) + 0.3 * np.sin(2 * np.pi * v)


def fractions(shape, pixel, cell, shift):
    y, x = np.meshgrid(np.arange(shape[0]) * pixel[0], np.arange(shape[1]) * pixel[1], indexing="ij")
    return np.moveaxis((np.stack([x, y], axis=-1) - shift) @ np.linalg.inv(cell), -1, 0)


def expected(h, w):
    v, u = np.meshgrid(np.arange(h) / h, np.arange(w) / w, indexing="ij")
    return wave(u, v)


@pytest.mark.parametrize("cell", [CELL, CELL[::-1]], ids=["right-handed", "left-handed"])
def test_recovers_the_cell_in_the_stated_frame(cell):
    image = wave(*fractions((180, 230), PIXEL, cell, SHIFT)).astype(np.float32)
    mean, error, count = cell_average(image, PIXEL, cell, SHIFT, (40, 48))
    assert mean.shape == (40, 48)
    assert mean.dtype == error.dtype == count.dtype == np.float32
    np.testing.assert_allclose(mean, expected(40, 48), atol=0.02)


def test_standard_error_is_that_of_the_mean():
    rng = np.random.default_rng(3)
    clean = wave(*fractions((160, 190), PIXEL, CELL, SHIFT))
    image = (clean + rng.normal(0, 2.0, clean.shape)).astype(np.float32)
    mean, error, _ = cell_average(image, PIXEL, CELL, SHIFT, (20, 24))
    pull = (mean - expected(20, 24)) / error
    assert 0.85 < pull.std() < 1.15


def test_masked_pixels_do_not_count():
    image = wave(*fractions((150, 170), PIXEL, CELL, SHIFT)).astype(np.float32)
    mask = np.ones(image.shape, dtype=bool)
    mask[20:60, 30:90] = False
    spoiled = np.where(mask, image, 1e4).astype(np.float32)
    mean, _, _ = cell_average(spoiled, PIXEL, CELL, SHIFT, (20, 24), mask)
    np.testing.assert_allclose(mean, expected(20, 24), atol=0.06)


def test_blocks_change_nothing(monkeypatch):
    image = wave(*fractions((90, 110), PIXEL, CELL, SHIFT)).astype(np.float32)
    whole = cell_average(image, PIXEL, CELL, SHIFT, (20, 24))
    monkeypatch.setattr("reconstruction.cell_average.BLOCK", 400)
    for left, right in zip(whole, cell_average(image, PIXEL, CELL, SHIFT, (20, 24)), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5)


def test_cell_commensurate_with_the_pixels_has_no_holes():
    """Every sample falls on the same few points: the others are interpolated and say so."""
    cell = np.array([[1.6, 0.0], [0.0, 1.6]])
    image = wave(*fractions((96, 128), (0.2, 0.2), cell, np.zeros(2))).astype(np.float32)
    mean, error, count = cell_average(image, (0.2, 0.2), cell, np.zeros(2), (24, 24))
    assert np.isfinite(mean).all()
    assert np.isinf(error[count == 0]).all()
    assert (count == 0).any()
    np.testing.assert_allclose(mean, expected(24, 24), atol=0.5)
    np.testing.assert_allclose(mean[::3, ::3], expected(24, 24)[::3, ::3], atol=1e-5)


def test_degenerate_cell_and_empty_mask_are_refused():
    image = np.ones((20, 30), dtype=np.float32)
    with pytest.raises(ReconstructionError, match="unit cell"):
        cell_average(image, PIXEL, np.array([[1.0, 1.0], [2.0, 2.0]]), SHIFT, (8, 8))
    with pytest.raises(ReconstructionError, match="mask"):
        cell_average(image, PIXEL, CELL, SHIFT, (8, 8), np.zeros(image.shape, dtype=bool))
