from __future__ import annotations

import math

import pytest
import torch

from models.divaesr.expert import Latent
from models.divaesr.gate import Opinion
from models.divaesr.losses import GRADIENT, balance, divergence, gating, restoration


def pictures(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_halving_the_error_is_worth_the_same_for_every_image() -> None:
    truth, error = pictures(3, 1, 20, 20), pictures(3, 1, 20, 20, seed=1)
    weight, floor = torch.ones_like(truth), torch.zeros(3)
    size = torch.tensor([3.0, 1.0, 0.3])[:, None, None, None]
    one = restoration(truth + size * error, truth, weight, floor)
    half = restoration(truth + 0.5 * size * error, truth, weight, floor)
    assert float(one - half) == pytest.approx((1 + GRADIENT) * math.log(4), rel=5e-3)


def test_weighted_pixels_count_more() -> None:
    truth, weight = pictures(1, 1, 20, 20), torch.ones(1, 1, 20, 20)
    weight[..., 5, 5] = 9
    here, there = truth.clone(), truth.clone()
    here[..., 5, 5] += 3
    there[..., 15, 15] += 3
    floor = torch.zeros(1)
    assert restoration(here, truth, weight, floor) > restoration(there, truth, weight, floor) + 1


def test_an_empty_image_is_measured_against_the_floor() -> None:
    truth, error = torch.zeros(1, 1, 16, 16), 0.1 * pictures(1, 1, 16, 16)
    weight = torch.ones_like(truth)
    low, high = (float(restoration(error, truth, weight, torch.tensor([f]))) for f in (0.1, 1.0))
    assert low - high == pytest.approx((1 + GRADIENT) * math.log(10), rel=0.02)


def test_divergence_from_the_standard_normal_distribution() -> None:
    zero = torch.zeros(2, 3, 4, 4)
    assert float(divergence((Latent(zero, zero),))) == 0.0
    assert float(divergence((Latent(zero + 2, zero),))) == pytest.approx(2.0)
    narrow = Latent(zero, zero + math.log(0.25))
    assert float(divergence((narrow,))) == pytest.approx(0.5 * (0.25 - 1 + math.log(4)))
    assert float(divergence((narrow, Latent(zero, zero)))) == pytest.approx(0.25 * (0.25 - 1 + math.log(4)))


def test_balance_is_one_when_all_are_asked_alike() -> None:
    even = Opinion(torch.zeros(4, 4), torch.zeros(4), torch.zeros(4, 5))
    assert float(balance(even, torch.eye(4))) == pytest.approx(1.0)
    sure = Opinion(10 * torch.eye(4)[:1].expand(4, 4), torch.zeros(4), torch.zeros(4, 5))
    assert float(balance(sure, torch.eye(4)[:1].expand(4, 4))) == pytest.approx(4.0, rel=1e-2)


def test_the_gate_is_taught_kind_level_and_pattern() -> None:
    kind, level, pattern = torch.tensor([0, 2]), torch.tensor([-5.0, 12.0]), torch.tensor([3, -1])
    experts, patterns = 20 * torch.eye(4)[kind], 20 * torch.eye(5)[[3, 0]]
    right = gating(Opinion(experts, level, patterns), kind, level, pattern)
    assert float(right) == pytest.approx(0.0, abs=1e-6)
    assert gating(Opinion(experts.flip(0), level, patterns), kind, level, pattern) > 1
    assert gating(Opinion(experts, level + 10, patterns), kind, level, pattern) > 0.1
    assert gating(Opinion(experts, level, patterns.roll(1, 1)), kind, level, pattern) > 1
    unknown = torch.tensor([-1, -1])
    assert float(gating(Opinion(experts, level, patterns.roll(1, 1)), kind, level, unknown)) == pytest.approx(
        0, abs=1e-6
    )
