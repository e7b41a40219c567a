"""Small pieces of image formation in torch: electrons, transfer, point sources, displaced scans."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

PIXEL = 0.1
"""Å, of the simulated recording and of the truth."""


def electron(energy: Tensor) -> tuple[Tensor, Tensor]:
    """Wavelength in Å and relative mass of electrons of an energy in eV."""
    rest = 510998.95
    return 12.2643 / (energy * (1 + energy / (2 * rest))).sqrt(), 1 + energy / rest


def aperture(x: Tensor) -> Tensor:
    """Transfer of an incoherent image at x = q / cut-off."""
    x = x.clamp(max=1.0)
    return 2 / torch.pi * (torch.arccos(x) - x * (1 - x * x).clamp_min(0).sqrt())


def splatted(image: Tensor, positions: Tensor, strengths: Tensor, count: int, side: int, offset: float) -> Tensor:
    """Point sources on a periodic grid by cubic B-splines, whose own transfer is divided out: (B, C, side, side).

    ``offset``: Å between the corner of the grid and that of the field of view. The first pixel's centre is the origin.
    """
    device = positions.device
    grid = torch.zeros(count * side * side, strengths.shape[1], device=device)
    place = (positions + offset) / PIXEL
    base = place.floor()
    part = place - base
    wx, wy = _cubic(part[:, 0]), _cubic(part[:, 1])
    column, row = base[:, 0].long(), base[:, 1].long()
    for i in range(4):
        y = (row + i - 1) % side
        for j in range(4):
            x = (column + j - 1) % side
            grid.index_add_(0, (image * side + y) * side + x, strengths * (wy[i] * wx[j])[:, None])
    grid = grid.reshape(count, side, side, -1).permute(0, 3, 1, 2)
    fy = torch.fft.fftfreq(side, device=device)[:, None]
    fx = torch.fft.rfftfreq(side, device=device)[None, :]
    spline = (torch.sinc(fy) * torch.sinc(fx)) ** 4
    return torch.fft.irfft2(torch.fft.rfft2(grid) / spline, s=(side, side))


def _cubic(t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights of the four nearest nodes of a cubic B-spline at a part ``t`` between the middle two."""
    return ((1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6)


def displaced(image: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Images (B, H, W) whose rows see what lies (dx, dy) Å away, (B, H) each; where that is nothing, as they are."""
    chosen = ((dx != 0) | (dy != 0)).any(dim=1)
    if not bool(chosen.all()):
        result = image.clone()
        if bool(chosen.any()):
            result[chosen] = displaced(image[chosen], dx[chosen], dy[chosen])
        return result
    height, width = image.shape[1:]
    y = (torch.arange(height, device=image.device) + 0.5)[None, :] + dy / PIXEL
    x = torch.arange(width, device=image.device) + 0.5
    columns = (x[None, None, :] + dx[:, :, None] / PIXEL) * 2 / width - 1
    rows = (y * 2 / height - 1)[:, :, None].expand_as(columns)
    grid = torch.stack([columns, rows], dim=-1)
    sampled = F.grid_sample(image[:, None], grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    return sampled[:, 0]
