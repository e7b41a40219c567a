"""What the residual blocks of the gate have in common (He et al., CVPR 2016)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    """Layers and a shortcut around them, (B, C, H, W) → (B, D, H / stride, W / stride).

    Parameters
    ----------
    body
        The layers, from C = ``inputs`` to D = ``outputs`` channels.
    inputs, outputs, stride
        Where they change the shape, the shortcut is a convolution of one pixel.
    """

    def __init__(self, body: nn.Module, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = body
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Add what the layers make to what the shortcut lets through."""
        return F.relu(self.body(x) + self.shortcut(x))
