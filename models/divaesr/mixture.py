"""The mixture: which experts see an image, and how their answers are put together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.divaesr.configuration import Configuration
from models.divaesr.expert import Expert, Latent
from models.divaesr.gate import Gate, Opinion


@dataclass(frozen=True, eq=False)
class Mixed:
    """Answer of the mixture.

    Attributes
    ----------
    image
        Clean images on the fine grid, (B, 1, 2H, 2W).
    weights
        Share of each expert, (B, K), rows sum to one.
    opinion
        Of the gate.
    latents
        Latent maps of the experts that were asked.
    """

    image: Tensor
    weights: Tensor
    opinion: Opinion
    latents: tuple[Latent, ...]


class Mixture(nn.Module):
    """Gate and experts: scaled image and mask (B, 1, H, W) → `Mixed`."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.configuration = configuration
        self.gate = Gate(configuration)
        self.experts = nn.ModuleList(Expert(configuration) for _ in configuration.kinds)

    def forward(self, image: Tensor, mask: Tensor, top: int | None = None) -> Mixed:
        """Ask the ``top`` experts that the gate prefers (None: as configured; all of them: soft routing)."""
        opinion = self.gate(image, mask)
        weights = top_weights(opinion.experts, self.configuration.top if top is None else top)
        fine = torch.zeros(len(image), 1, 2 * image.shape[-2], 2 * image.shape[-1], device=image.device)
        latents = []
        for index, expert in enumerate(self.experts):
            asked = torch.nonzero(weights[:, index] > 0).flatten()
            if len(asked):
                answer, latent = expert(image[asked], mask[asked])
                fine = fine.index_add(0, asked, answer * weights[asked, index, None, None, None])
                latents.append(latent)
        return Mixed(fine, weights, opinion, tuple(latents))


def top_weights(logits: Tensor, top: int) -> Tensor:
    """Softmax over the ``top`` largest logits of each row, zero elsewhere, (B, K)."""
    if not 1 <= top <= logits.shape[1]:
        raise ValueError(f"top {top}: must lie between 1 and the number of experts, {logits.shape[1]}")
    best = logits.topk(top, dim=1).indices
    masked = torch.full_like(logits, -torch.inf).scatter(1, best, logits.gather(1, best))
    return masked.softmax(dim=1)
