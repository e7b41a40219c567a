"""One expert: a variational U-Net that denoises, fills holes and doubles the resolution.

The encoder ends in a Gaussian latent map: what survives its bottleneck is what neighbourhoods many unit cells wide
have in common; fine positions travel through the skip connections. The last layer has four channels that interleave
to a grid twice as fine (sub-pixel convolution: Shi et al., CVPR 2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.divaesr.configuration import Configuration
from models.divaesr.preparation import BACKGROUND_WIDTH, blur
from models.divaesr.spectral import SpectralFilter


@dataclass(frozen=True, eq=False)
class Latent:
    """Gaussian posterior of the latent map: mean and logarithm of the variance, (B, L, h, w) each."""

    mean: Tensor
    log_variance: Tensor


class ResidualBlock(nn.Module):
    """(B, C, H, W) → (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        last = _silent(nn.Conv2d(channels, channels, 3, padding=1))  # every block starts as the identity
        self.body = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.SiLU(), last)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the block has learnt."""
        return x + self.body(x)


class Expert(nn.Module):
    """Scaled image and mask (B, 1, H, W) on the working grid → clean image (B, 1, 2H, 2W).

    H and W must be multiples of 2^(depths - 1), 8 for the usual configuration.
    """

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        widths, blocks = configuration.widths, configuration.blocks
        self.pixel = configuration.working_pixel
        self.spectral = SpectralFilter(configuration.spectral_width)
        self.first = nn.Conv2d(4, widths[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.encode = nn.ModuleList(_stage(width, blocks) for width in widths)
        self.decode = nn.ModuleList(_stage(width, blocks) for width in widths[:-1])
        self.to_latent = nn.Conv2d(widths[-1], 2 * configuration.latent, 1)
        self.from_latent = nn.Conv2d(configuration.latent, widths[-1], 1)
        self.last = _silent(nn.Conv2d(widths[0], 4, 3, padding=1))

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Latent]:
        """Denoise; in training mode the latent map is drawn from its posterior, otherwise it is the mean."""
        return self.refine(self.see(image, mask))

    def see(self, image: Tensor, mask: Tensor) -> Tensor:
        """What the convolutions are given, (B, 4, H, W): structure, background, filtered image, mask.

        The filter needs the whole image, the rest of the network only its surroundings: large images are cut into
        tiles after this step.
        """
        background = blur(image, BACKGROUND_WIDTH / self.pixel)
        return torch.cat([(image - background) * mask, background * 0.25, self.spectral(image, mask), mask], dim=1)

    def refine(self, seen: Tensor) -> tuple[Tensor, Latent]:
        """From what `see` returns to the clean image, (B, 1, 2H, 2W)."""
        x = self.first(seen)
        skips = []
        for stage, down in zip(self.encode, self.down, strict=False):
            x = stage(x)
            skips.append(x)
            x = down(x)
        x = self.encode[-1](x)
        mean, log_variance = self.to_latent(x).float().chunk(2, dim=1)
        latent = Latent(mean, log_variance.clamp(-12.0, 4.0))
        drawn = mean
        if self.training:
            drawn = mean + torch.randn_like(mean) * (0.5 * latent.log_variance).exp()
        x = x + self.from_latent(drawn.to(x.dtype))
        for up, stage, skip in zip(reversed(self.up), reversed(self.decode), reversed(skips), strict=True):
            x = stage(up(x) + skip)
        fine = F.pixel_shuffle(self.last(x).float(), 2)
        return fine + _doubled(seen[:, 2:3].float()), latent


def _silent(layer: nn.Conv2d) -> nn.Conv2d:
    """Make a layer return nothing until it has learnt something."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _stage(width: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))


def _doubled(image: Tensor) -> Tensor:
    """On a grid twice as fine over the same field of view."""
    return F.interpolate(image, scale_factor=2, mode="bicubic", align_corners=False)
