"""Atomic columns of synthetic averages: where they are, and none where there is only noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import slabs

from microscopy.errors import ReconstructionError
from reconstruction.columns import find_columns

HEXAGONAL = np.array([[3.18, 0.0], [-1.59, 2.754]])
OBLIQUE = np.array([[3.0, 0.3], [-1.1, 4.6]])
RECTANGULAR = np.array([[3.3, 0.0], [0.0, 4.4]])
WIDTH = 0.28
NEIGHBOURS = np.array([(i, j) for i in (-2, -1, 0, 1, 2) for j in (-2, -1, 0, 1, 2)])


def average_of(cell, positions, amplitudes, grid=(44, 36)):
    """Gaussian columns on a periodic grid, row ~ v, column ~ u."""
    h, w = grid
    v, u = np.meshgrid(np.arange(h) / h, np.arange(w) / w, indexing="ij")
    image = np.zeros(grid)
    for position, amplitude in zip(positions, amplitudes, strict=True):
        for neighbour in NEIGHBOURS:
            delta = (np.stack([u, v], axis=-1) - position + neighbour) @ cell
            image += amplitude * np.exp(-np.sum(delta**2, axis=-1) / (2 * WIDTH**2))
    return image


def noisy(image, noise, seed=0):
    drawn = image + np.random.default_rng(seed).normal(0.0, noise, image.shape)
    return drawn.astype(np.float32), np.full(image.shape, noise, dtype=np.float32)


def distances(cell, found, true):
    """Å between each true column and the nearest found one."""
    delta = np.asarray(true)[:, None, None, :] - found[None, :, None, :] + NEIGHBOURS
    return np.linalg.norm(delta @ cell, axis=-1).min(axis=(1, 2))


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.25])
@pytest.mark.parametrize(
    ("cell", "positions"),
    [
        (HEXAGONAL, [(0.0, 0.0), (1 / 3, 2 / 3)]),
        (OBLIQUE, [(0.999, 0.001), (0.5, 0.45), (0.1, 0.7)]),
        (RECTANGULAR, [(0.25, 0.0)]),
    ],
    ids=["hexagonal", "oblique, on a corner", "one column on an edge"],
)
def test_finds_every_column_once(cell, positions, noise):
    average, error = noisy(average_of(cell, positions, [1.0, 0.6, 0.8][: len(positions)]), noise)
    columns = find_columns(average, cell, error)
    assert len(columns.positions) == len(positions)
    assert np.all((columns.positions >= 0) & (columns.positions < 1))
    assert distances(cell, columns.positions, positions).max() < 0.01 + 0.4 * noise
    assert np.all(np.diff(columns.heights) <= 0)
    assert np.all((columns.probability > 0.5) & (columns.probability <= 1))


@given(structure=slabs(max_sites=3, min_distance=1.3))
@settings(max_examples=10, deadline=None)
def test_any_cell(structure):
    cell = structure.lattice.matrix[:2, :2]
    true = structure.frac_coords[:, :2]
    average, error = noisy(average_of(cell, true, np.ones(len(true)), (48, 56)), 0.02)
    columns = find_columns(average, cell, error)
    assert len(columns.positions) == len(true)
    assert distances(cell, columns.positions, true).max() < 0.03


@pytest.mark.parametrize("seed", range(6))
def test_noise_has_no_columns(seed):
    average, error = noisy(np.zeros((44, 36)), 1.0, seed)
    assert len(find_columns(average, OBLIQUE, error).positions) == 0


def test_constant_average_has_no_columns():
    assert len(find_columns(np.ones((20, 24), np.float32), OBLIQUE, np.zeros((20, 24), np.float32)).positions) == 0


def test_dark_atoms():
    positions = [(0.2, 0.3), (0.7, 0.75)]
    average, error = noisy(5.0 - average_of(OBLIQUE, positions, [1.0, 0.7]), 0.05)
    columns = find_columns(average, OBLIQUE, error, sign=-1)
    assert distances(OBLIQUE, columns.positions, positions).max() < 0.05
    assert len(columns.positions) == 2


def test_position_errors_are_of_the_size_of_the_errors():
    positions = [(0.2, 0.3), (0.7, 0.75)]
    clean = average_of(OBLIQUE, positions, [1.0, 0.7])
    missed, stated = [], []
    for seed in range(8):
        average, error = noisy(clean, 0.15, seed)
        columns = find_columns(average, OBLIQUE, error)
        missed.append(distances(OBLIQUE, columns.positions, positions) / np.sqrt(2))
        stated.append(columns.position_errors)
    ratio = np.sqrt(np.mean(np.square(missed))) / np.sqrt(np.mean(np.square(stated)))
    assert 0.5 < ratio < 2.0


def test_a_column_in_one_quadrant_only_is_not_a_column():
    steady = average_of(OBLIQUE, [(0.2, 0.3)], [1.0])
    once = average_of(OBLIQUE, [(0.7, 0.75)], [1.0])
    quadrants = np.array([noisy(steady + (once if k == 0 else 0), 0.05, k)[0] for k in range(4)])
    average, error = quadrants.mean(axis=0), np.full(steady.shape, 0.025, np.float32)
    columns = find_columns(average, OBLIQUE, error, replicates=quadrants)
    assert len(columns.positions) == 1
    assert distances(OBLIQUE, columns.positions, [(0.2, 0.3)]).max() < 0.05


@given(seed=st.integers(0, 10))
@settings(max_examples=2, deadline=None)
def test_same_seed_same_columns(seed):
    average, error = noisy(average_of(HEXAGONAL, [(0.1, 0.2)], [1.0]), 0.1)
    first, second = (find_columns(average, HEXAGONAL, error, seed=seed) for _ in range(2))
    np.testing.assert_array_equal(first.positions, second.positions)


def test_inconsistent_input_is_refused():
    with pytest.raises(ReconstructionError, match="shape"):
        find_columns(np.ones((8, 9), np.float32), OBLIQUE, np.ones((9, 8), np.float32))
    with pytest.raises(ReconstructionError, match="sign"):
        find_columns(np.ones((8, 9), np.float32), OBLIQUE, np.ones((8, 9), np.float32), sign=0)
