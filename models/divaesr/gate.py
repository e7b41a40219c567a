"""The gate: the topology of ResNet-18 (He et al., CVPR 2016) on one channel, and what it says of an image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.divaesr.configuration import Configuration
from models.divaesr.families import FamilyReader, repeats
from models.divaesr.preparation import BACKGROUND_WIDTH, blur
from models.divaesr.residual import Residual

STAGES = (1, 2, 4, 8)
"""Width of each stage, in units of the first; two blocks each."""


@dataclass(frozen=True, eq=False)
class Opinion:
    """What the gate says of B images.

    Attributes
    ----------
    experts
        Logits over the experts, (B, K).
    level
        Signal to noise in dB, (B,).
    patterns
        Logits over `PATTERNS`, (B, 5).
    """

    experts: Tensor
    level: Tensor
    patterns: Tensor


class BasicBlock(Residual):
    """Two convolutions and a shortcut, (B, C, H, W) → (B, D, H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        super().__init__(body, inputs, outputs, stride)


class Gate(nn.Module):
    """Scaled image (B, 1, H, W) on the working grid, any size → `Opinion`."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        base, self.pixel = configuration.gate_width, configuration.working_pixel
        self.experts = len(configuration.kinds)
        layers: list[nn.Module] = [
            nn.Conv2d(1, base, 7, 2, 3, bias=False),
            nn.BatchNorm2d(base),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        ]
        width = base
        for index, factor in enumerate(STAGES):
            layers += [BasicBlock(width, factor * base, 2 if index else 1), BasicBlock(factor * base, factor * base, 1)]
            width = factor * base
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(width, self.experts + 1)
        self.families = FamilyReader(configuration.reader_width)

    def forward(self, image: Tensor, mask: Tensor) -> Opinion:
        """Look at the structure of an image, where the background tells nothing, and at how it repeats itself."""
        fine = (image - blur(image, BACKGROUND_WIDTH / self.pixel)) * mask
        pooled = self.body(fine).float().mean(dim=(-2, -1))
        with torch.autocast(image.device.type, enabled=False):
            said = self.head(pooled)
        return Opinion(
            experts=said[:, : self.experts],
            level=10.0 * said[:, self.experts],
            patterns=self.families(repeats(image, mask, self.pixel)),
        )
