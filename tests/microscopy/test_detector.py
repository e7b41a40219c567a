import numpy as np
import pytest

from microscopy.detector import harmonics, phase_gradient, segment_masks
from microscopy.micrograph import Modality
from microscopy.optics import Optics

EXTENT, GPTS = np.array([12.0, 15.0]), (64, 80)


def frequencies():
    kx, ky = np.meshgrid(*(harmonics(n) / length for n, length in zip(GPTS, EXTENT, strict=True)), indexing="ij")
    return np.stack([kx.ravel(), ky.ravel()])


def test_ring_covers_its_area():
    optics = Optics(modality=Modality.ADF, detector=(30.0, 42.0))
    mask = segment_masks(optics, EXTENT, GPTS, 0.0)
    assert mask.shape == (1, 64 * 80)
    inner, outer = (1e-3 * angle / optics.wavelength for angle in optics.angles)
    area = mask.sum() / np.prod(EXTENT)
    assert area == pytest.approx(np.pi * (outer**2 - inner**2), rel=0.01)


def test_quadrants_partition_their_ring_and_oppose_each_other():
    masks = segment_masks(Optics(), EXTENT, GPTS, 0.0)
    ring = segment_masks(Optics(modality=Modality.ADF, detector=Optics().angles), EXTENT, GPTS, 0.0)
    np.testing.assert_allclose(masks.sum(axis=0), ring[0], atol=1e-6)
    centres = np.array([mask @ frequencies().T / mask.sum() for mask in masks])
    np.testing.assert_allclose(centres[0], -centres[2], atol=1e-6)
    np.testing.assert_allclose(centres[1], -centres[3], atol=1e-6)
    assert centres[0, 0] > 0.3
    assert centres[1, 1] > 0.3
    np.testing.assert_allclose(centres[[0, 1], [1, 0]], 0, atol=1e-6)


def test_turning_the_box_turns_the_quadrants_the_other_way():
    masks = segment_masks(Optics(), EXTENT, GPTS, np.deg2rad(30))
    x, y = masks[0] @ frequencies().T / masks[0].sum()
    assert np.rad2deg(np.arctan2(y, x)) == pytest.approx(-30, abs=0.5)


def test_gradient_is_that_of_the_phase_that_shifts_the_disc():
    optics = Optics(detector=(5.0, 24.0))
    masks = segment_masks(optics, EXTENT, GPTS, 0.0)
    shift = np.array([0.03, 0.012])
    # A disc with an edge as soft as a diffraction pixel, so that its shift is well sampled.
    radius = np.linalg.norm(frequencies() - shift[:, None], axis=0)
    disc = 1 / (1 + np.exp((radius - 1e-3 * optics.convergence_angle / optics.wavelength) / 0.03))
    gradient = phase_gradient(masks @ disc / disc.sum(), optics)
    np.testing.assert_allclose(gradient, 2 * np.pi * shift, rtol=0.05)
