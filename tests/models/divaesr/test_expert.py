from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from models.divaesr.configuration import Configuration
from models.divaesr.expert import Expert, ResidualBlock
from models.divaesr.mixture import Mixture


def image(height: int = 40, width: int = 56, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    noise = torch.randn((batch, 1, height, width), generator=torch.Generator().manual_seed(5))
    return noise, torch.ones_like(noise)


def test_a_block_starts_as_the_identity_and_learns() -> None:
    block, x = ResidualBlock(6), torch.randn(1, 6, 9, 11)
    torch.testing.assert_close(block(x), x, atol=0, rtol=0)
    block(x).square().sum().backward()
    assert any(float(p.grad.abs().max()) > 0 for p in block.parameters() if p.grad is not None)


def test_an_expert_starts_as_its_filter(tiny: Configuration) -> None:
    expert, (x, mask) = Expert(tiny).eval(), image()
    with torch.no_grad():
        found, _ = expert(x, mask)
        filtered = F.interpolate(expert.spectral(x, mask), scale_factor=2, mode="bicubic")
    torch.testing.assert_close(found, filtered, atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(8, 8), (40, 56), (64, 24)])
def test_output_is_twice_as_fine_and_the_latent_map_eight_times_coarser(
    tiny: Configuration, shape: tuple[int, int]
) -> None:
    found, latent = Expert(tiny)(*image(*shape))
    assert found.shape == (2, 1, 2 * shape[0], 2 * shape[1])
    assert found.dtype == torch.float32
    assert latent.mean.shape == latent.log_variance.shape == (2, tiny.latent, shape[0] // 8, shape[1] // 8)


def test_evaluation_repeats_itself_and_training_draws(mixture: Mixture) -> None:
    expert, seen = mixture.experts[0], image()
    with torch.no_grad():
        one, other = expert(*seen)[0], expert(*seen)[0]
        torch.testing.assert_close(one, other, atol=0, rtol=0)
        expert.train()
        one, other = expert(*seen)[0], expert(*seen)[0]
    assert float((one - other).abs().max()) > 1e-4


def test_one_image_does_not_change_another(mixture: Mixture) -> None:
    expert, (x, mask) = mixture.experts[1], image()
    with torch.no_grad():
        torch.testing.assert_close(expert(x, mask)[0][:1], expert(x[:1], mask[:1])[0], atol=1e-5, rtol=0)


def test_what_the_convolutions_see(tiny: Configuration) -> None:
    x, mask = image()
    mask[..., :10, :10] = 0
    seen = Expert(tiny).see(x + 5, mask).detach()
    assert seen.shape == (2, 4, 40, 56)
    assert float(seen[:, 0, :10, :10].abs().max()) == 0.0  # structure: nothing where nothing is believed
    assert float(seen[:, 0].mean().abs()) < 0.1
    assert float(seen[:, 1].mean()) == pytest.approx(5 * 0.25, abs=0.1)
    torch.testing.assert_close(seen[:, 3:], mask)
