"""The pattern family of an image, read from where the image repeats itself.

A lattice is what is common to all vectors by which an image looks like itself, and a convolutional network sees a few
unit cells of it only. The cepstrum (the Fourier transform of the logarithm of the power) has a peak at each of these
vectors, whatever stands in the cell and however strong a reflection is; in polar coordinates, the radius logarithmic,
a rotation or another size of the cell moves it as a whole, which is what convolutions are blind to.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.divaesr.configuration import BAND, PATTERNS
from models.divaesr.residual import Residual
from models.divaesr.spectral import over_floor

NEAREST, FARTHEST = 1.8, 18.0
"""Å, shortest and longest vectors that are looked at."""

RADII, ANGLES = 64, 128
"""Samples of their lengths, on a logarithmic scale, and of their directions over half a turn."""

FLOOR = 1.5
"""Logarithm of the power over that of its ring from which it counts; the noise's has a standard deviation of 1.3."""

LIMITS = (-1.0, 4.0)
"""What the reader sees of a map lies between these."""

DEPTHS = (1, 2, 4, 4)
"""Width of each stage of the reader, in units of the first."""


def repeats(image: Tensor, mask: Tensor, pixel: float) -> Tensor:
    """By which vectors images look like themselves.

    Parameters
    ----------
    image, mask
        Scaled images and their believed pixels, (B, 1, H, W), any size.
    pixel
        Å.

    Returns
    -------
    Tensor
        Cepstrum, (B, 1, RADII, ANGLES), in units of three times its root mean square: rows are lengths from `NEAREST`
        to `FARTHEST`, columns directions from x towards y over half a turn, after which it repeats itself.
    """
    pad = math.ceil(FARTHEST / pixel) + 2  # no vector reaches across the frame
    height, width = (side + pad for side in image.shape[-2:])
    with torch.autocast(image.device.type, enabled=False):
        excess, _, _ = over_floor(image.float() * mask, (height, width))
        bright = F.relu(excess - FLOOR) * _band((height, width), pixel, image.device)
        cepstrum = torch.fft.irfft2(torch.complex(bright, torch.zeros_like(bright)), s=(height, width))
        cepstrum = torch.fft.fftshift(cepstrum, dim=(-2, -1))
        grid = _grid((height, width), pixel, image.device).expand(len(image), -1, -1, -1)
        polar = F.grid_sample(cepstrum, grid, mode="bicubic", align_corners=True)
        size = polar.square().mean(dim=(-2, -1), keepdim=True).sqrt().clamp_min(1e-9)
        return (polar / (3 * size)).clamp(*LIMITS)


class FamilyReader(nn.Module):
    """What `repeats` returns → logits over ``PATTERNS``, (B, 5).

    Parameters
    ----------
    width
        Channels of the first stage.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_Wrapped(1, width, 2), nn.ReLU(inplace=True)]
        inputs = width
        for index, depth in enumerate(DEPTHS):
            layers.append(_Block(inputs, depth * width, 2 if index else 1))
            inputs = depth * width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(2 * inputs, len(PATTERNS))

    def forward(self, polar: Tensor) -> Tensor:
        """Read maps; turned ones read alike."""
        found = self.body(polar).float()
        pooled = torch.cat([found.mean(dim=(-2, -1)), found.amax(dim=(-2, -1))], dim=1)
        with torch.autocast(polar.device.type, enabled=False):
            return self.head(pooled)


class _Wrapped(nn.Sequential):
    """Convolution of 3 × 3 and normalisation of a map whose last axis is a circle."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(F.pad(x, (1, 1, 0, 0), mode="circular"), (0, 0, 1, 1)))


class _Block(Residual):
    """Two convolutions and a shortcut: (B, C, R, A) → (B, D, R / stride, A / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        layers = (_Wrapped(inputs, outputs, stride), nn.ReLU(inplace=True), _Wrapped(outputs, outputs, 1))
        super().__init__(nn.Sequential(*layers), inputs, outputs, stride)


@lru_cache(maxsize=16)
def _band(shape: tuple[int, int], pixel: float, device: torch.device) -> Tensor:
    """One where signal and noise are compared, on the ``rfft2`` grid."""
    fy = torch.fft.fftfreq(shape[0], pixel, device=device)[:, None]
    fx = torch.fft.rfftfreq(shape[1], pixel, device=device)[None, :]
    q = torch.hypot(fy, fx)
    return ((q >= BAND[0]) & (q <= BAND[1])).float()


@lru_cache(maxsize=16)
def _grid(shape: tuple[int, int], pixel: float, device: torch.device) -> Tensor:
    """Where a centred map is sampled, in the coordinates of ``grid_sample``, (1, RADII, ANGLES, 2)."""
    radius = NEAREST * (FARTHEST / NEAREST) ** (torch.arange(RADII, device=device) / (RADII - 1)) / pixel
    angle = torch.arange(ANGLES, device=device) * (torch.pi / ANGLES)
    places = []
    for side, direction in ((shape[1], angle.cos()), (shape[0], angle.sin())):
        places.append(2 * (side // 2 + radius[:, None] * direction) / (side - 1) - 1)
    return torch.stack(places, dim=-1)[None]
