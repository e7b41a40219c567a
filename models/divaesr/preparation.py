"""What a network sees: the image on the working grid, without its scale, split into structure and background."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

BACKGROUND_WIDTH = 2.4
"""Å, standard deviation of the smoothing that defines the background; columns are 1 to 3 Å apart."""

_FILL_WIDTHS = (0.4, 1.6, 6.4)
"""Å, over which masked pixels are filled from their surroundings, nearest first."""


def blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian smoothing of (..., H, W) by ``sigma`` pixels, mirrored at the edges."""
    with torch.autocast(image.device.type, enabled=False):
        down, across = (_smoother(side, sigma, image.device) for side in image.shape[-2:])
        return down @ image.float() @ across.T


@lru_cache(maxsize=64)
def _smoother(side: int, sigma: float, device: torch.device) -> Tensor:
    """Matrix (side, side) that smooths a column."""
    reach = int(3 * sigma + 0.5)
    offsets = torch.arange(-reach, reach + 1)
    taps = torch.exp(-0.5 * (offsets / sigma) ** 2)
    source = (torch.arange(side)[:, None] + offsets) % (2 * side)
    source = torch.minimum(source, 2 * side - 1 - source)
    matrix = torch.zeros(side, side).scatter_add_(1, source, (taps / taps.sum()).expand_as(source))
    return matrix.to(device)


def filled(image: Tensor, mask: Tensor, pixel: float) -> Tensor:
    """Image (B, 1, H, W) with pixels where ``mask`` (same shape, 1: believed) is 0 replaced by their surroundings."""
    if bool((mask > 0).all()):
        return image
    known = (mask > 0).float()
    mean = (image * known).sum(dim=(-2, -1), keepdim=True) / known.sum(dim=(-2, -1), keepdim=True).clamp_min(1)
    result = torch.where(known > 0, image, mean)
    todo = known == 0
    for width in _FILL_WIDTHS:
        share = blur(known, width / pixel)
        near = todo & (share > 0.02)
        result = torch.where(near, blur(image * known, width / pixel) / share.clamp_min(1e-3), result)
        todo = todo & ~near
    return result


def prepare(image: Tensor, mask: Tensor, pixel: float) -> tuple[Tensor, Tensor, Tensor]:
    """Scale an image on the working grid.

    Parameters
    ----------
    image
        Any unit, holes filled, shape (B, 1, H, W).
    mask
        Believed share of each pixel, same shape.
    pixel
        Å of the working grid.

    Returns
    -------
    scaled
        Image with zero mean, divided by ``scale``, same shape.
    mean, scale
        Shape (B, 1, 1, 1): the standard deviation of what is finer than the background, so that neither units nor the
        slow noise of an integrated image matter.
    """
    believed = mask.sum(dim=(-2, -1), keepdim=True).clamp_min(1.0)
    mean = (image * mask).sum(dim=(-2, -1), keepdim=True) / believed
    centred = image - mean
    fine = (centred - blur(centred, BACKGROUND_WIDTH / pixel)) * mask
    scale = (fine.square().sum(dim=(-2, -1), keepdim=True) / believed).sqrt().clamp_min(1e-20)
    return centred / scale, mean, scale
