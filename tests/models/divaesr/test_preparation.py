from __future__ import annotations

import pytest
import torch
from scipy.ndimage import gaussian_filter

from models.divaesr.preparation import blur, filled, prepare


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


def test_units_do_not_matter() -> None:
    image, mask = noise(2, 1, 40, 48), torch.ones(2, 1, 40, 48)
    one, _, size = prepare(image, mask, 0.2)
    other, mean, scale = prepare(image * 1e-6 + 4e-6, mask, 0.2)
    torch.testing.assert_close(other, one, atol=1e-4, rtol=0)
    torch.testing.assert_close(scale, size * 1e-6, rtol=1e-4, atol=0)
    torch.testing.assert_close(other * scale + mean, image * 1e-6 + 4e-6, rtol=1e-4, atol=1e-11)


def test_slow_background_does_not_change_the_scale() -> None:
    image, mask = noise(1, 1, 128, 128), torch.ones(1, 1, 128, 128)
    slow = torch.cos(torch.pi * (torch.arange(128) + 0.5) / 128)[:, None] * 5
    _, _, plain = prepare(image, mask, 0.2)
    _, _, sloped = prepare(image + slow, mask, 0.2)
    assert float(sloped) == pytest.approx(float(plain), rel=0.05)


def test_masked_pixels_do_not_change_mean_and_scale() -> None:
    image, mask = noise(1, 1, 64, 64), torch.ones(1, 1, 64, 64)
    mask[..., 20:30, 20:30] = 0
    _, mean, scale = prepare(torch.where(mask > 0, image, 0.0), mask, 0.2)
    _, whole_mean, whole_scale = prepare(image, torch.ones_like(mask), 0.2)
    assert float(mean) == pytest.approx(float(whole_mean), abs=0.02)
    assert float(scale) == pytest.approx(float(whole_scale), rel=0.03)


@pytest.mark.parametrize("sigma", [1.0, 3.5])
def test_blur_mirrors_at_the_edges(sigma: float) -> None:
    image = noise(31, 40)
    expected = gaussian_filter(image.double().numpy(), sigma, mode="reflect", radius=int(3 * sigma + 0.5))
    torch.testing.assert_close(blur(image, sigma).double(), torch.from_numpy(expected), atol=1e-5, rtol=0)


def test_blur_wider_than_the_image_keeps_a_constant() -> None:
    torch.testing.assert_close(blur(torch.full((8, 9), 3.0), 12.0), torch.full((8, 9), 3.0))


def test_filling_keeps_believed_pixels_and_continues_their_surroundings() -> None:
    slope = torch.linspace(0, 10, 60)[:, None].expand(60, 60)[None, None].clone()
    mask = torch.ones_like(slope)
    mask[..., 40:46, 20:30] = 0
    spoiled = torch.where(mask > 0, slope, torch.tensor(1e5))
    found = filled(spoiled, mask, 0.2)
    torch.testing.assert_close(found[mask > 0], slope[mask > 0], atol=0, rtol=0)
    assert float((found - slope)[mask == 0].abs().max()) < 0.6  # the mean of the image is 2 off


def test_pixels_far_from_any_believed_one_get_the_mean() -> None:
    image, mask = torch.full((1, 1, 400, 20), 7.0), torch.zeros(1, 1, 400, 20)
    mask[..., :5, :] = 1
    image[mask == 0] = float("1e6")
    torch.testing.assert_close(filled(image, mask, 0.2), torch.full_like(image, 7.0))


def test_an_image_without_holes_is_returned() -> None:
    image = noise(1, 1, 8, 8)
    assert filled(image, torch.ones_like(image), 0.2) is image
