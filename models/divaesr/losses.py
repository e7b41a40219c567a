"""What is minimised, and why.

The mean squared error alone would teach the noisiest images only: their errors are the largest. Its logarithm weights
every image alike, and is its PSNR up to a constant. A second term compares gradients: integration piles the shot noise
of an iDPC image up as 1/q², and the gradient undoes that, so it is the error in units of the noise (whitened), where
each frequency counts by what the dose can say about it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from models.divaesr.expert import Latent
from models.divaesr.gate import Opinion

GRADIENT = 0.5
"""Weight of the whitened error beside that of the image."""

KL = 1e-4
"""Weight of the Kullback-Leibler divergence of the latent map from a standard normal distribution."""

LEVEL, PATTERN, BALANCE = 0.02, 0.2, 0.01
"""Weights of the gate's tasks beside the choice of an expert: noise level (per 10 dB²), pattern family, balance."""


def restoration(image: Tensor, truth: Tensor, weight: Tensor, floor: Tensor) -> Tensor:
    """Logarithm of the relative error of the image and of its gradient, mean over the images.

    Parameters
    ----------
    image, truth
        (B, 1, H, W).
    weight
        Importance of each pixel, same shape, mean near one: defects count more than their area.
    floor
        Power that an error is compared with where there is no signal, (B,).
    """
    error = image - truth
    power = truth.square().mean(dim=(1, 2, 3))
    first = _relative((weight * error.square()).mean(dim=(1, 2, 3)), power + floor)
    second = _relative(_steepness(error), _steepness(truth) + floor)
    return first.mean() + GRADIENT * second.mean()


def divergence(latents: tuple[Latent, ...]) -> Tensor:
    """Kullback-Leibler divergence from the standard normal distribution per latent value."""
    each = [0.5 * (z.mean.square() + z.log_variance.exp() - 1.0 - z.log_variance).mean() for z in latents]
    return torch.stack(each).mean()


def gating(opinion: Opinion, kind: Tensor, level: Tensor, pattern: Tensor) -> Tensor:
    """Teach the gate the kind (B,), the noise level in dB (B,) and the pattern family (B,; -1: unknown)."""
    loss = F.cross_entropy(opinion.experts, kind) + LEVEL * F.smooth_l1_loss(opinion.level, level)
    if bool((pattern >= 0).any()):
        loss = loss + PATTERN * F.cross_entropy(opinion.patterns, pattern, ignore_index=-1)
    return loss


def balance(opinion: Opinion, weights: Tensor) -> Tensor:
    """One when all experts are asked alike, more when they are not (Fedus et al., JMLR 23 (2022) 120)."""
    asked = (weights > 0).float().mean(dim=0) / (weights > 0).float().sum(dim=1).mean()
    return weights.shape[1] * (asked * opinion.experts.softmax(dim=1).mean(dim=0)).sum()


def _relative(error: Tensor, power: Tensor) -> Tensor:
    return torch.log(error / power + 1e-4)


def _steepness(image: Tensor) -> Tensor:
    """Mean square of the gradient per image, (B,)."""
    down, across = image[..., 1:, :] - image[..., :-1, :], image[..., :, 1:] - image[..., :, :-1]
    return down.square().mean(dim=(1, 2, 3)) + across.square().mean(dim=(1, 2, 3))
