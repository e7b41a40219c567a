from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import linear_image, oblique

from benchmarks.image_quality import BORDER, quality, structure_factors

SHAPE, PIXEL = (150, 190), 0.12


@pytest.fixture(scope="module")
def clean() -> tuple[np.ndarray, np.ndarray]:
    micrograph, cell = linear_image(oblique(), shape=SHAPE, pixel=PIXEL, noise=0.0)
    return micrograph.image.astype(float), cell


def measured(image, clean):
    return quality(image, clean[0], (PIXEL, PIXEL), clean[1])


@given(factor=st.floats(1e-6, 1e6), offset=st.floats(-1e3, 1e3))
@settings(max_examples=10, deadline=None)
def test_the_reference_in_any_unit_is_perfect(clean, factor, offset) -> None:
    found = measured(factor * (clean[0] + offset), clean)
    assert found.psnr > 150
    assert found.ssim == pytest.approx(1)
    assert found.structure_factor_error == pytest.approx(0, abs=1e-7)


def test_identical_images(clean) -> None:
    found = measured(clean[0], clean)
    assert found.psnr > 250  # infinite but for round-off
    assert found.ssim == pytest.approx(1)


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_known_noise_has_its_known_psnr(clean, share) -> None:
    """Scaled by the Wiener factor S/(S + N), noise of variance N leaves an error of S N/(S + N)."""
    inner = clean[0][BORDER:-BORDER, BORDER:-BORDER]
    span, signal = np.ptp(inner), inner.var()
    noise = (share * span) ** 2
    noisy = clean[0] + np.sqrt(noise) * np.random.default_rng(0).normal(size=SHAPE)
    expected = 10 * np.log10(span**2 * (signal + noise) / (signal * noise))
    assert measured(noisy, clean).psnr == pytest.approx(expected, abs=0.2)


def test_more_noise_is_worse_by_every_measure(clean) -> None:
    noise = clean[0].std() * np.random.default_rng(2).normal(size=SHAPE)
    results = [measured(clean[0] + level * noise, clean) for level in (0.3, 1.0, 3.0)]
    assert results == sorted(results, key=lambda found: -found.psnr)
    assert results == sorted(results, key=lambda found: -found.ssim)
    assert results == sorted(results, key=lambda found: found.structure_factor_error)


def test_noise_alone_has_nothing_of_the_structure(clean) -> None:
    found = measured(np.random.default_rng(4).normal(size=SHAPE), clean)
    assert found.structure_factor_error == pytest.approx(1, abs=0.05)


def test_a_flat_image_has_nothing_of_the_structure(clean) -> None:
    assert measured(np.full(SHAPE, 7.0), clean).structure_factor_error == pytest.approx(1)


def test_an_image_moved_by_a_pixel_has_other_phases(clean) -> None:
    """Amplitudes alone would not see it."""
    moved = np.roll(clean[0], 3, axis=1)
    before, after = (structure_factors(each, (PIXEL, PIXEL), clean[1]) for each in (clean[0], moved))
    strong = np.abs(before) > 0.1 * np.abs(before).max()
    assert np.abs(after)[strong] == pytest.approx(np.abs(before)[strong], rel=0.1)
    assert measured(moved, clean).structure_factor_error > 0.5


def test_the_border_is_not_compared(clean) -> None:
    framed = clean[0].copy()
    framed[: BORDER - 1] = framed[:, -BORDER + 1 :] = 1e3
    assert measured(framed, clean).ssim == pytest.approx(1)


def test_structure_factors_are_those_of_a_wave() -> None:
    """One plane wave at a node has one coefficient, half its amplitude."""
    cell = np.array([[4.0, 0.3], [-0.6, 5.0]])
    g = np.linalg.inv(cell).T[0] * 2
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] * PIXEL
    values = np.sort(np.abs(structure_factors(3 * np.cos(2 * np.pi * (g[0] * x + g[1] * y)), (PIXEL, PIXEL), cell)))
    assert values[-1] == pytest.approx(1.5, rel=0.01)
    assert values[-2] < 0.02
