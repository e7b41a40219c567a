"""What describes a network: everything needed to build it again, stored beside its weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

PHASE, INCOHERENT = "phase", "incoherent"
LOW, HIGH = "low", "high"

KINDS = tuple(f"{family}-{level}" for family in (PHASE, INCOHERENT) for level in (LOW, HIGH))
"""Kinds of image that experts are made for: what the detector sees, and low or high signal to noise."""

PATTERNS = ("oblique", "rectangular", "square", "hexagonal", "none")
"""Pattern families that the gate tells apart: the crystal systems of the plane, and no lattice."""

LEVELS = (-18.0, 2.0, 22.0)
"""dB, signal to noise within `BAND`: worst, border between low and high, best. MoS2 by iDPC: -3.5 at 10³ e/Å², 6.5 at
10⁴; graphene 11 dB less."""

BAND = (0.1, 2.0)
"""1/Å, spatial frequencies within which signal and noise are compared."""


@dataclass(frozen=True)
class Configuration:
    """A mixture of experts.

    Attributes
    ----------
    kinds
        Name of each expert.
    widths
        Channels at each depth of an expert; the grid halves from one to the next.
    blocks
        Residual blocks per depth, on the way down and again on the way up.
    latent
        Channels of the variational bottleneck.
    spectral_width
        Channels of the spectral filter.
    gate_width
        Channels of the first stage of the gate; ResNet-18 has 64.
    reader_width
        Channels of the first stage of what reads the pattern family.
    top
        Experts that see an image.
    working_pixel
        Å, pixel of the working grid; the output is twice as fine.
    pixel_range
        Å, pixel sizes of images that the training covers once they are resampled.
    """

    kinds: tuple[str, ...] = KINDS
    widths: tuple[int, ...] = (32, 64, 96, 96)
    blocks: int = 2
    latent: int = 16
    spectral_width: int = 16
    gate_width: int = 24
    reader_width: int = 24
    top: int = 2
    working_pixel: float = 0.2
    pixel_range: tuple[float, float] = (0.04, 0.22)

    def to_json(self) -> dict[str, Any]:
        """JSON-compatible content."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Configuration:
        """Inverse of `to_json`."""
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in content.items()}
        return cls(**values)


SMALL = Configuration(widths=(16, 32, 48, 48), blocks=1, latent=8, spectral_width=8, gate_width=12, reader_width=12)
"""Trains in under two hours on two cores."""
