from __future__ import annotations

import numpy as np
import pytest
from microscope_files import lattice
from PIL import Image, ImageDraw

from microscopy.errors import ReadError
from microscopy.preprocess import crop_scale_bar, estimate_noise, normalise, repair


def _atoms(height: int = 160, width: int = 240) -> np.ndarray:
    """A noise-free lattice of Gaussian columns, 5 px wide (FWHM), 16 px apart."""
    y, x = np.mgrid[:height, :width]
    return np.exp(-(((y % 16) - 8.0) ** 2 + ((x % 16) - 8.0) ** 2) / (2 * 2.1**2))


@pytest.mark.parametrize("sigma", [0.1, 0.5, 3.0])
def test_noise_of_a_lattice_is_measured_within_five_per_cent(sigma: float) -> None:
    image = _atoms() + np.random.default_rng(1).normal(0, sigma, (160, 240))
    assert estimate_noise(image) == pytest.approx(sigma, rel=0.05)


def test_noise_scales_with_the_image_and_ignores_slopes() -> None:
    image = lattice()
    noise = estimate_noise(image)
    assert estimate_noise(-7 * image.astype(float) + 3) == pytest.approx(7 * noise, rel=1e-5)
    ramp = np.add.outer(3 * np.arange(72.0), 2 * np.arange(96.0))
    assert estimate_noise(image + ramp) == pytest.approx(noise, rel=1e-4)
    assert estimate_noise(ramp) == pytest.approx(0.0, abs=1e-9)


def test_noise_of_nearly_empty_counts() -> None:
    counts = np.random.default_rng(2).poisson(0.01, (200, 220))
    assert 0.3 * 0.1 < estimate_noise(counts) < 1.5 * 0.1


def test_normalise() -> None:
    image = lattice()
    out = normalise(image)
    assert out.dtype == np.float32
    assert out.mean() == pytest.approx(0, abs=1e-5)
    assert out.std() == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(normalise(5 * image + 2), out, atol=1e-4)
    np.testing.assert_allclose(normalise(out), out, atol=1e-5)
    assert not normalise(np.full((5, 6), 0.1)).any()


def test_normalise_believes_only_the_mask() -> None:
    image = lattice().astype(float)
    mask = np.ones(image.shape, dtype=bool)
    mask[:4] = False
    wild = image.copy()
    wild[:4] = 1e9
    out = normalise(wild, mask)
    assert not out[:4].any()
    np.testing.assert_allclose(out[4:], normalise(image[4:]), atol=1e-5)


def test_repair_takes_the_nearest_good_pixel() -> None:
    image = np.arange(80.0).reshape(8, 10)
    image[2, 3] = np.nan
    fixed, mask, notice = repair(image)
    assert fixed[2, 3] in (22.0, 24.0, 13.0, 33.0)
    assert mask is not None
    assert np.count_nonzero(~mask) == 1
    assert notice is not None
    assert repair(fixed)[1:] == (None, None)
    image[:, :5] = np.inf
    with pytest.raises(ReadError, match="limit 5%"):
        repair(image)


def _with_bar(value: int, top: bool = False) -> tuple[np.ndarray, int]:
    """A specimen with a 50 px bar and a label in a corner; and the row where the specimen is free again."""
    rng = np.random.default_rng(5)
    picture = Image.fromarray((80 + 60 * _atoms() + rng.normal(0, 8, (160, 240))).clip(1, 254).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    row = 8 if top else 146
    draw.rectangle((12, row, 62, row + 4), fill=value)
    draw.text((25, row + 7 if top else row - 14), "2 nm", fill=value)
    return np.asarray(picture), row


@pytest.mark.parametrize("value", [255, 0])
@pytest.mark.parametrize("top", [False, True])
def test_scale_bar_and_label_are_cropped(value: int, top: bool) -> None:
    image, row = _with_bar(value, top)
    cropped, notice = crop_scale_bar(image)
    assert value not in cropped
    assert "cropped" in notice
    height = image.shape[0]
    assert height - cropped.shape[0] < 40
    np.testing.assert_array_equal(cropped, image[-len(cropped) :] if top else image[: len(cropped)])
    assert len(cropped) <= (height - row if top else row)


def test_data_banner_is_cropped() -> None:
    image = (80 + 60 * _atoms()).astype(np.uint8)
    rng = np.random.default_rng(6)
    image = (image + rng.integers(0, 20, image.shape)).astype(np.uint8)
    banner = Image.new("L", (240, 24), 0)
    ImageDraw.Draw(banner).text((5, 6), "300 kV  HAADF  10.0 Mx   5 nm", fill=255)
    cropped, _ = crop_scale_bar(np.vstack([image, np.asarray(banner)]))
    np.testing.assert_array_equal(cropped, image)


def test_a_clean_image_is_left_whole() -> None:
    image = lattice()
    cropped, notice = crop_scale_bar(image)
    np.testing.assert_array_equal(cropped, image)
    assert "nothing was cropped" in notice
    counts = np.random.default_rng(3).poisson(0.3, (120, 140))
    assert crop_scale_bar(counts)[0].shape == counts.shape
