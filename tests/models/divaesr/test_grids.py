from __future__ import annotations

import numpy as np
import pytest
import torch

from microscopy.integration import integrate_dpc
from models.divaesr.grids import band_power, integrate, resample, wavenumbers

CPU = torch.device("cpu")


def waves(shape: tuple[int, int], modes: tuple[tuple[int, int], ...] = ((3, 5), (7, 2), (0, 4))) -> torch.Tensor:
    """A few cosines that reflect at the edges, over the unit square, and a mean of 2."""
    y, x = ((torch.arange(n).double() + 0.5) / n for n in shape)
    total = torch.full(shape, 2.0, dtype=torch.float64)
    for k, m in modes:
        total += torch.cos(torch.pi * k * y)[:, None] * torch.cos(torch.pi * m * x)[None, :]
    return total


@pytest.mark.parametrize("shape", [(20, 30), (64, 64), (90, 41)])
def test_resampling_is_exact_for_what_both_grids_hold(shape: tuple[int, int]) -> None:
    found = resample(waves((40, 50)).float(), shape)
    torch.testing.assert_close(found, waves(shape).float(), atol=2e-5, rtol=0)


@pytest.mark.parametrize("shape", [(16, 24), (33, 50), (80, 96)])
def test_resampling_conserves_the_mean_of_any_image(shape: tuple[int, int]) -> None:
    noise = torch.randn(2, 32, 48, generator=torch.Generator().manual_seed(0)) + 3
    torch.testing.assert_close(resample(noise, shape).mean(dim=(1, 2)), noise.mean(dim=(1, 2)), atol=1e-5, rtol=0)


def test_resampling_drops_what_the_coarser_grid_cannot_hold() -> None:
    found = resample(waves((40, 40), ((30, 0), (0, 25))).float(), (20, 20))
    torch.testing.assert_close(found, torch.full((20, 20), 2.0), atol=1e-5, rtol=0)


def test_integration_inverts_the_gradient() -> None:
    shape, pixel = (40, 56), 0.2
    y, x = ((torch.arange(n).double() + 0.5) / n for n in shape)
    ky, kx = torch.pi * 3 / (shape[0] * pixel), torch.pi * 5 / (shape[1] * pixel)
    cy, sy = torch.cos(torch.pi * 3 * y)[:, None], torch.sin(torch.pi * 3 * y)[:, None]
    cx, sx = torch.cos(torch.pi * 5 * x)[None, :], torch.sin(torch.pi * 5 * x)[None, :]
    found = integrate((-ky * sy * cx).float(), (-kx * cy * sx).float(), pixel)
    torch.testing.assert_close(found, (cy * cx).float(), atol=1e-4, rtol=0)


def test_integration_is_that_of_measured_images() -> None:
    rng = np.random.default_rng(4)
    gy, gx = rng.normal(size=(2, 37, 52))
    gy, gx = gy - gy.mean(), gx - gx.mean()
    expected, _ = integrate_dpc(gy, gx, (0.13, 0.13))
    found = integrate(torch.from_numpy(gy).float(), torch.from_numpy(gx).float(), 0.13).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.std())


def test_power_in_a_band_is_that_of_the_waves_in_it() -> None:
    pixel, side = 0.1, 100  # 10 Å: mode k has k / 20 per Å
    image = waves((side, side), ((0, 4), (0, 30))).float()
    assert band_power(image, pixel, (0.1, 0.5)) == pytest.approx(0.5, rel=1e-3)
    assert band_power(image, pixel, (0.1, 2.0)) == pytest.approx(1.0, rel=1e-3)
    assert band_power(image, pixel, (2.0, 4.0)) == pytest.approx(0.0, abs=1e-6)


def test_wavenumbers_are_in_radians_per_unit() -> None:
    k = wavenumbers((10, 20), 0.5, CPU)
    assert k[0, 0] == 0
    assert float(k[2, 0]) == pytest.approx(np.pi * 2 / 5)
    assert float(k[3, 4]) == pytest.approx(np.hypot(np.pi * 3 / 5, np.pi * 4 / 10), rel=1e-5)
