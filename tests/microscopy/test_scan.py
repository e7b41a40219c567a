import numpy as np
import pytest

from microscopy.scan import View, drifted, orthogonal_part, probe_positions, raster


def test_raster_puts_columns_on_x_and_rows_on_y():
    points = raster((3, 5), (0.2, 0.1))
    assert points.shape == (3, 5, 2)
    np.testing.assert_allclose(points[2, 4], [0.4, 0.4])
    np.testing.assert_allclose(points[1, 0], [0.0, 0.2])


def test_rotation_takes_columns_towards_rows_and_mirror_comes_first():
    np.testing.assert_allclose(orthogonal_part(90, mirror=False) @ [1, 0], [0, 1], atol=1e-12)
    np.testing.assert_allclose(orthogonal_part(90, mirror=True) @ [1, 0], [0, -1], atol=1e-12)
    assert np.linalg.det(orthogonal_part(33, mirror=True)) == pytest.approx(-1)


def test_view_is_inverted_exactly():
    view = View(np.array([[1.1, 0.2], [-0.3, 0.9]]), np.array([2.0, -1.0]))
    points = np.random.default_rng(0).uniform(-5, 5, (4, 3, 2))
    np.testing.assert_allclose(view.to_slab(view.to_image(points)), points, atol=1e-12)


def test_undisturbed_probe_follows_the_raster():
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(
        probe_positions((4, 6), (0.1, 0.2), np.zeros(2), 0.0, rng), raster((4, 6), (0.1, 0.2))
    )


def test_drift_starts_at_zero_ends_at_one_and_slows_down():
    t = np.linspace(0, 1, 11)
    share = drifted(t)
    assert share[0] == 0
    assert share[-1] == pytest.approx(1)
    assert (np.diff(share) > 0).all()
    assert (np.diff(share, 2) < 0).all()


def test_apparent_map_follows_the_drifting_crystal():
    """A point of the crystal that is seen at r has, by then, moved with the specimen."""
    shape, pixel_size, drift = (200, 40), (0.1, 0.1), np.array([0.9, -0.6])
    view = View(orthogonal_part(20, mirror=False), np.array([1.0, 2.0]))
    seen = view.to_slab(probe_positions(shape, pixel_size, drift, 0.0, np.random.default_rng(0)))
    apparent = view.drifted(drift, shape[0] * pixel_size[0])
    error = apparent.to_image(seen) - raster(shape, pixel_size)
    # What is left is the curvature of the drift: at most an eighth of its change of rate.
    assert np.abs(error).max() < 0.15 * np.abs(drift).max()
    assert np.abs(view.to_image(seen) - raster(shape, pixel_size)).max() > 0.8
    assert np.abs(error.mean(axis=(0, 1))).max() < 0.02


def test_jitter_moves_whole_lines_along_x_by_the_asked_rms():
    points = probe_positions((4000, 3), (0.1, 0.1), np.zeros(2), 0.25, np.random.default_rng(3)) - raster(
        (4000, 3), (0.1, 0.1)
    )
    np.testing.assert_array_equal(points[..., 1], 0)
    np.testing.assert_allclose(points[:, 0, 0], points[:, 2, 0], atol=1e-12)
    assert points[:, 0, 0].std() == pytest.approx(0.25, rel=0.05)
