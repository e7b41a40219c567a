from __future__ import annotations

import pytest
import torch

from models.divaesr.inference import network
from models.divaesr.spectral import SpectralFilter, features

SIDE = 128


def lattice() -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(SIDE) * 0.2, torch.arange(SIDE) * 0.2, indexing="ij")
    turns = torch.deg2rad(torch.tensor([11.0, 71.0, 131.0]))
    total = sum(torch.cos(2 * torch.pi * 0.36 * (x * t.cos() + y * t.sin())) for t in turns)
    return (total / total.std())[None, None]


def noise(seed: int) -> torch.Tensor:
    return torch.randn((1, 1, SIDE, SIDE), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("expert", [0, 2])  # for images with little signal
def test_a_lattice_is_kept_and_noise_is_not(expert: int) -> None:
    trained, mask = network().experts[expert].spectral, torch.ones(1, 1, SIDE, SIDE)
    with torch.inference_mode():
        both = trained(0.4 * lattice() + noise(1), mask)
        alone = trained(noise(1), mask)
    kept = float((both * lattice()).mean() / 0.4)
    assert kept > 0.5
    assert float(alone.std()) < 0.5 * kept
    left = both - kept * 0.4 * lattice()
    assert float(left.std()) < 0.5 * kept


def test_masked_pixels_do_not_matter() -> None:
    trained, mask = network().experts[0].spectral, torch.ones(1, 1, SIDE, SIDE)
    mask[..., 30:50, 60:90] = 0.4
    image = lattice() + 0.5 * noise(2)
    with torch.inference_mode():
        one = trained(image, mask)
        other = trained(torch.where(mask < 0.5, torch.tensor(100.0), image), mask)
        believed = trained(torch.where(mask < 0.5, torch.tensor(100.0), image), torch.ones_like(mask))
    torch.testing.assert_close(one, other, atol=0, rtol=0)
    assert float((one - believed).abs().max()) > 1  # pixels that are believed would matter
    hole = (mask < 0.5)[0, 0]
    seen = torch.stack([one[0, 0][hole], lattice()[0, 0][hole]])
    assert float(torch.corrcoef(seen)[0, 1]) > 0.9


@pytest.mark.parametrize("shape", [(40, 40), (33, 57), (8, 90)])
def test_any_size_and_no_mean(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    found = SpectralFilter(4)(torch.full((2, 1, *shape), 1.0) + torch.randn(2, 1, *shape), torch.ones(2, 1, *shape))
    assert found.shape == (2, 1, *shape)
    assert bool(torch.isfinite(found).all())


def test_features_do_not_feel_the_unit_and_show_reflections() -> None:
    image = lattice() + noise(3)
    one, other = features(image, (SIDE, SIDE)), features(1e3 * image, (SIDE, SIDE))
    torch.testing.assert_close(one, other, atol=1e-3, rtol=0)
    peak = one[0, 0].flatten().argmax()
    assert float(one[0, 2].flatten()[peak]) == pytest.approx(0.36 * 2 * 0.2, abs=0.02)
