"""A learned filter over the whole Fourier plane.

A convolutional network sees a few unit cells; the Fourier plane sees them all. A crystal puts its power into sparse
reflections above a smooth floor of noise, so a small network that looks at the power around each frequency, relative
to the floor at the same radius, can decide how much of it to keep: a Wiener filter whose gain is learned.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

RINGS = 48
"""Rings of equal width up to the Nyquist frequency, over which the floor of noise is measured."""

MARGIN = 32
"""Pixels beyond the frame in which the image is continued by what the filter itself predicts."""

ROUNDS = 3
"""Continuations (Papoulis 1975, Gerchberg 1974): edges and holes then act as neither."""


class SpectralFilter(nn.Module):
    """Images (B, 1, H, W), any size, zero mean → filtered images (B, 1, H, W).

    Parameters
    ----------
    width
        Channels of the network that decides on the gain.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.decide = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 1, 3, padding=1),
        )

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Filter; pixels where ``mask`` (same shape, 1: believed) is below one half are predicted, not used."""
        image, believed = image.float(), mask > 0.5
        height, width = image.shape[-2:]
        shape = (height + MARGIN, width + MARGIN)
        with torch.autocast(image.device.type, enabled=False):
            seen = features(image * believed, shape)
        decided = self.decide(seen)
        with torch.autocast(image.device.type, enabled=False):
            gain = torch.sigmoid(decided.float()) * _no_mean(shape, image.device)
            known = torch.zeros(image.shape[:2] + shape, dtype=torch.bool, device=image.device)
            known[..., :height, :width] = believed
            measured = torch.zeros(known.shape, device=image.device)
            measured[..., :height, :width] = image * believed
            current = result = measured
            for _ in range(ROUNDS):
                result = torch.fft.irfft2(torch.fft.rfft2(current) * gain, s=shape)
                current = torch.where(known, measured, result)
            return result[..., :height, :width]


def features(image: Tensor, shape: tuple[int, int]) -> Tensor:
    """What the filter decides on, on the ``rfft2`` grid of ``shape``: (B, 3, P, P // 2 + 1).

    Logarithm of the power over the floor of its ring; of the floor over that of all rings; the spatial frequency over
    the highest.
    """
    excess, floor, q = over_floor(image, shape)
    return torch.cat([excess / 4, floor / 4, q.expand_as(excess)], dim=1)


def over_floor(image: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """What stands out of the noise, on the ``rfft2`` grid of ``shape``.

    Returns
    -------
    tuple
        Natural logarithm of the power over the floor of its ring, and of the floor over that of all rings, (B, 1, P,
        P // 2 + 1) each; spatial frequency over the highest, (P, P // 2 + 1).
    """
    height, width = image.shape[-2:]
    window = _hann(height, image.device)[:, None] * _hann(width, image.device)[None, :]
    power = torch.fft.rfft2(image * window, s=shape).abs().square() / window.square().sum()
    log = torch.log(power + 1e-12)
    ring, q = _rings(shape, image.device)
    flat = log.flatten(1)
    counts = torch.bincount(ring, minlength=RINGS).clamp_min(1)
    # The mean of the logarithm over a ring hardly feels its few reflections.
    floors = torch.zeros(len(flat), RINGS, device=image.device).index_add_(1, ring, flat) / counts
    floor = floors[:, ring].reshape(log.shape)
    overall = floors.mean(dim=1)[:, None, None, None]
    return log - floor, floor - overall, q


def _hann(length: int, device: torch.device) -> Tensor:
    return torch.hann_window(length + 2, periodic=False, device=device)[1:-1]


def _rings(shape: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    fy = torch.fft.fftfreq(shape[0], device=device)[:, None]
    fx = torch.fft.rfftfreq(shape[1], device=device)[None, :]
    q = (torch.hypot(fy, fx) * 2).clamp(max=1.0)
    return (q * (RINGS - 1)).round().long().flatten(), q


def _no_mean(shape: tuple[int, int], device: torch.device) -> Tensor:
    keep = torch.ones(shape[0], shape[1] // 2 + 1, device=device)
    keep[0, 0] = 0.0
    return keep
