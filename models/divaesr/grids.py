"""Cosine transforms: an image continued as its own mirror has no edges, so neither resampling nor integration rings.

All functions take tensors (..., H, W) and return float32 on the same device.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=64)
def cosine_basis(length: int, device: torch.device) -> Tensor:
    """Orthonormal DCT-II: row k is cos(π k (n + ½) / N), shape (N, N)."""
    k, n = torch.meshgrid(torch.arange(length), torch.arange(length), indexing="ij")
    basis = torch.cos(torch.pi * k.double() * (n + 0.5) / length) * (2 / length) ** 0.5
    basis[0] /= 2**0.5
    return basis.float().to(device)


@lru_cache(maxsize=64)
def sine_basis(length: int, device: torch.device) -> Tensor:
    """Derivative partner of `cosine_basis`: row k is sin(π k (n + ½) / N), row 0 is zero, shape (N, N)."""
    k, n = torch.meshgrid(torch.arange(length), torch.arange(length), indexing="ij")
    basis = torch.sin(torch.pi * k.double() * (n + 0.5) / length) * (2 / length) ** 0.5
    return basis.float().to(device)


@lru_cache(maxsize=64)
def _resampler(old: int, new: int, device: torch.device) -> Tensor:
    kept = min(old, new)
    back = cosine_basis(new, device)[:kept].T
    return (back @ cosine_basis(old, device)[:kept]) * (new / old) ** 0.5


def resample(image: Tensor, shape: tuple[int, int]) -> Tensor:
    """Change the number of pixels over the same field of view: frequencies beyond the coarser grid are dropped."""
    rows, columns = (_resampler(o, n, image.device) for o, n in zip(image.shape[-2:], shape, strict=True))
    return rows @ image.float() @ columns.T


def wavenumbers(shape: tuple[int, int], pixel: float, device: torch.device) -> Tensor:
    """Modulus of the wave vector 2πq of each cosine mode in rad per unit of ``pixel``, shape (H, W)."""
    ky, kx = (torch.pi * torch.arange(n, device=device) / (n * pixel) for n in shape)
    return torch.hypot(ky[:, None], kx[None, :])


def integrate(gradient_y: Tensor, gradient_x: Tensor, pixel: float) -> Tensor:
    """Least-squares integral of a vector image; see ``microscopy.integration.integrate_dpc``."""
    height, width = gradient_y.shape[-2:]
    device = gradient_y.device
    cy, cx = cosine_basis(height, device), cosine_basis(width, device)
    sy, sx = sine_basis(height, device), sine_basis(width, device)
    ky = (torch.pi * torch.arange(height, device=device) / (height * pixel))[:, None]
    kx = (torch.pi * torch.arange(width, device=device) / (width * pixel))[None, :]
    k2 = ky**2 + kx**2
    k2[0, 0] = 1.0
    phi = -(ky * (sy @ gradient_y @ cx.T) + kx * (cy @ gradient_x @ sx.T)) / k2
    phi[..., 0, 0] = 0.0
    return cy.T @ phi @ cx


def band_power(image: Tensor, pixel: float, band: tuple[float, float]) -> Tensor:
    """Mean square of an image (..., H, W) within a band of spatial frequencies (1/Å for a pixel in Å), shape (...)."""
    height, width = image.shape[-2:]
    modes = cosine_basis(height, image.device) @ image.float() @ cosine_basis(width, image.device).T
    q = wavenumbers((height, width), pixel, image.device) / (2 * torch.pi)
    inside = (q >= band[0]) & (q <= band[1])
    return (modes**2 * inside).sum(dim=(-2, -1)) / (height * width)
