"""Images of any size and pixel size through the mixture: resampled, cut into tiles, put together without seams."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from scipy.fft import dctn, idctn
from torch import Tensor, nn
from torch.nn import functional as F

from models.device import chosen
from models.divaesr import weights
from models.divaesr.configuration import LEVELS, LOW, PATTERNS
from models.divaesr.expert import Expert
from models.divaesr.gate import Opinion
from models.divaesr.manifest import SHIPPED, digest
from models.divaesr.mixture import Mixture, top_weights
from models.divaesr.preparation import prepare

TILE, STRIDE = 384, 256
"""Pixels of the working grid: side of a tile, and step from one to the next."""

RIM, RAMP = 48, 32
"""Pixels at the edge of a tile that are not used, and over which it then fades in."""

FAINT = -24.0
"""dB, signal to noise of an answer below which there is nothing in the image: experts were trained down to -18 dB.
What is left of an answer on pure noise is a thousandth to a fiftieth of the noise; it is made flat."""

NOTHING = "nothing but noise is seen in this image, so the denoised one is flat"

FULL = "denoised on the processor, because the memory of the GPU did not suffice"

_MULTIPLE = 8  # of the working grid, so that it can be halved three times


@dataclass(frozen=True, eq=False)
class Restored:
    """What the mixture makes of an image.

    Attributes
    ----------
    image
        Clean image on the pixels of the input, (H, W), its unit.
    fine
        The same on the grid of the network, about 0.1 Å/px whatever the input had, (h, w).
    spread
        Standard deviation among the experts that were asked, on the pixels and in the unit of the input, (H, W).
    weights
        Share of each expert, summing to one.
    level
        Signal to noise in dB as the gate sees it.
    pattern
        The most probable of ``PATTERNS``, and its probability.
    outside
        Whether the pixel size is one that the training did not cover.
    note
        What a user has to know; empty when all is as in training.
    """

    image: Float32[np.ndarray, "H W"]
    fine: Float32[np.ndarray, "h w"]
    spread: Float32[np.ndarray, "H W"]
    weights: dict[str, float]
    level: float
    pattern: tuple[str, float]
    outside: bool
    note: str


def network(folder: Path = SHIPPED, device: str = "cpu") -> Mixture:
    """Load the mixture to a torch device, once for as long as its weights stay the same."""
    return _network(folder, digest(folder), device)


@lru_cache(maxsize=2)
def _network(folder: Path, digest: str, device: str) -> Mixture:
    return weights.load(folder).to(device)


def restore(
    image: Float[np.ndarray, "H W"],
    pixel_size: tuple[float, float],
    mask: Bool[np.ndarray, "H W"] | None = None,
    expert: str | None = None,
    strength: float = 1.0,
    folder: Path = SHIPPED,
    device: str = "cpu",
) -> Restored:
    """Denoise an image.

    Parameters
    ----------
    image
        Any unit; pixels that are not to be believed are filled with something smooth.
    pixel_size
        (y, x) in Å.
    mask
        True where a pixel is to be believed.
    expert
        One of the configuration's kinds, instead of those that the gate prefers.
    strength
        How many times stronger than it looks the noise is to be taken: it moves the choice between the experts for
        little and for much noise.
    folder
        Of the weights.
    device
        Torch device, or ``"auto"``. One whose memory does not suffice makes way for the processor, and the note says
        so.

    Raises
    ------
    models.divaesr.manifest.WeightsError
        If the weights cannot be used.
    ValueError
        If there is no such expert.
    """
    place = chosen(device)
    try:
        return _restored(image, pixel_size, mask, expert, strength, network(folder, place))
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        found = _restored(image, pixel_size, mask, expert, strength, network(folder))
        return replace(found, note="; ".join(note for note in (found.note, FULL) if note))


def _restored(
    image: Float[np.ndarray, "H W"],
    pixel_size: tuple[float, float],
    mask: Bool[np.ndarray, "H W"] | None,
    expert: str | None,
    strength: float,
    mixture: Mixture,
) -> Restored:
    """Denoise an image where the mixture is."""
    device = next(mixture.parameters()).device
    configuration = mixture.configuration
    if expert is not None and expert not in configuration.kinds:
        raise ValueError(f"no expert {expert!r}; choose one of {', '.join(configuration.kinds)}")
    shape = _working_shape(image.shape, pixel_size, configuration.working_pixel)
    believed = torch.ones(1, 1, *shape)
    if mask is not None:
        believed = F.interpolate(torch.from_numpy(mask.astype(np.float32))[None, None], size=shape, mode="area")
    believed = believed.to(device)
    coarse = torch.from_numpy(_resampled(image, shape))[None, None].to(device)
    with torch.inference_mode(), _exact(device):
        scaled, mean, scale = prepare(coarse, believed, configuration.working_pixel)
        opinion = mixture.gate(scaled, believed)
        if expert is None:
            shares = _shares(opinion, configuration.kinds, configuration.top, strength)
        else:
            shares = torch.tensor([float(kind == expert) for kind in configuration.kinds], device=device)
        asked = [index for index, share in enumerate(shares) if share > 0]
        answers = torch.stack([_tiled(mixture.experts[index], scaled, believed) for index in asked])
        blend = (answers * shares[asked][:, None, None]).sum(dim=0)
        spread = answers.std(dim=0, correction=0) if len(asked) > 1 else torch.zeros_like(blend)
        nothing = float(blend.std()) < 10 ** (FAINT / 20)  # the image was scaled to unit variance
        if nothing:
            blend = torch.full_like(blend, float(blend.mean()))
        size = float(scale)
        fine = blend.cpu().numpy() * size + float(mean)
    best = int(opinion.patterns[0].argmax())
    outside = _outside(pixel_size, configuration.pixel_range)
    return Restored(
        image=_resampled(fine, image.shape),
        fine=fine.astype(np.float32),
        spread=np.abs(_resampled(spread.cpu().numpy() * size, image.shape)),
        weights={configuration.kinds[index]: round(float(shares[index]), 4) for index in asked},
        level=float(opinion.level),
        pattern=(PATTERNS[best], float(opinion.patterns[0].softmax(dim=0)[best])),
        outside=bool(outside),
        note="; ".join(note for note in (outside, NOTHING if nothing else "") if note),
    )


@contextmanager
def _exact(device: torch.device) -> Iterator[None]:
    """Convolve in single precision also where a GPU would round more coarsely: the answer is that of the processor."""
    if device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False):
        yield


def _working_shape(shape: tuple[int, ...], pixel_size: tuple[float, float], pixel: float) -> tuple[int, int]:
    sides = (side * size / pixel for side, size in zip(shape, pixel_size, strict=True))
    height, width = (max(_MULTIPLE, _MULTIPLE * round(side / _MULTIPLE)) for side in sides)
    return height, width


def _resampled(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Other pixels over the same field of view, without aliasing: cosine modes dropped or added."""
    if image.shape == tuple(shape):
        return np.asarray(image, dtype=np.float32)
    modes = dctn(np.asarray(image, dtype=np.float64), norm="ortho", workers=-1)
    kept = tuple(slice(min(old, new)) for old, new in zip(image.shape, shape, strict=True))
    other = np.zeros(shape)
    other[kept] = modes[kept]
    factor = np.sqrt(np.prod(shape) / image.size)
    return np.asarray(idctn(other, norm="ortho", workers=-1) * factor, dtype=np.float32)


def _shares(opinion: Opinion, kinds: tuple[str, ...], top: int, strength: float) -> Tensor:
    """Share of each expert, (K,)."""
    logits = opinion.experts
    if strength != 1.0:
        # What the gate says of the family stays; how noisy the image is, is taken from its level.
        chances = dict(zip(kinds, logits[0].softmax(dim=0).tolist(), strict=True))
        border = LEVELS[1] - (float(opinion.level) - 20.0 * np.log10(strength))
        low = 1.0 / (1.0 + np.exp(-border))
        values = []
        for kind in kinds:
            family, level = kind.rsplit("-", 1)
            whole = sum(chance for name, chance in chances.items() if name.rsplit("-", 1)[0] == family)
            values.append(whole * (low if level == LOW else 1.0 - low))
        logits = torch.log(torch.tensor([values], device=logits.device).clamp_min(1e-9))
    return top_weights(logits, top)[0]


def _tiled(expert: nn.Module, image: Tensor, mask: Tensor) -> Tensor:
    """Answer of an expert on a large image, (2H, 2W): its filter sees the whole, its convolutions see tiles."""
    assert isinstance(expert, Expert)
    seen = expert.see(image, mask)
    height, width = image.shape[-2:]
    total, weight = torch.zeros(2, 2 * height, 2 * width, device=image.device)
    for top in _starts(height):
        for left in _starts(width):
            tile = seen[..., top : top + TILE, left : left + TILE]
            answer, _ = expert.refine(tile)
            part = _fade(top, tile.shape[-2], height)[:, None] * _fade(left, tile.shape[-1], width)[None, :]
            part = part.to(image.device)
            place = (slice(2 * top, 2 * top + len(part)), slice(2 * left, 2 * left + part.shape[1]))
            total[place] += answer[0, 0] * part
            weight[place] += part
    return total / weight


def _starts(side: int) -> list[int]:
    if side <= TILE:
        return [0]
    return [*range(0, side - TILE, STRIDE), side - TILE]


def _fade(start: int, length: int, side: int) -> Tensor:
    """Weight of each row of a tile on the fine grid; full up to the edges of the image."""
    place = (torch.arange(2 * length) + 0.5) / 2
    rise = ((place - RIM) / RAMP).clamp(1e-6, 1.0) if start > 0 else torch.ones(2 * length)
    fall = ((length - place - RIM) / RAMP).clamp(1e-6, 1.0) if start + length < side else torch.ones(2 * length)
    return rise * fall


def _outside(pixel_size: tuple[float, float], trained: tuple[float, float]) -> str:
    low, high = trained
    if all(low <= size <= high for size in pixel_size):
        return ""
    sizes = " × ".join(f"{size:.3g}" for size in pixel_size)
    return (
        f"pixel size {sizes} Å lies outside {low:g} to {high:g} Å, for which the denoiser was trained: "
        "it was resampled, and its result is to be taken with care"
    )
