"""The record that enters the pipeline: one image and everything known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32


class Modality(StrEnum):
    """What the detector signal means physically."""

    IDPC = "iDPC"
    HAADF = "HAADF"
    ADF = "ADF"
    ABF = "ABF"
    PHASE = "phase"
    UNKNOWN = "unknown"


@dataclass(frozen=True, eq=False)
class Micrograph:
    """One micrograph.

    Frame: image row = +y down, column = +x. Lengths in Å.

    Attributes
    ----------
    image
        Detector signal, shape (H, W), arbitrary units, finite everywhere.
    pixel_size
        (y, x) in Å, or None when neither the file nor the user gives it.
    pixel_size_source
        ``"file"``, ``"user"`` or ``"estimate"``; None when there is no pixel size.
    modality
        Signal type; ``unknown`` is treated like iDPC with the contrast sign left free.
    dose
        Electrons per Å², or None.
    beam_energy
        eV, or None.
    convergence_angle
        Semi-angle in mrad, or None.
    elements
        Chemical symbols the user knows to be present (the complete set), sorted, or None.
    formula
        Reduced formula the user knows, or None.
    sha256
        Digest of the source file.
    source
        File name as the user gave it; for messages only, never part of a cache key.
    mask
        True where a pixel is to be believed; None when all are.
    metadata
        The reader's original metadata, JSON-compatible.
    notices
        Sentences about anything that was changed or assumed while reading.
    """

    image: Float32[np.ndarray, "H W"]
    pixel_size: tuple[float, float] | None
    sha256: str
    source: str
    modality: Modality = Modality.IDPC
    pixel_size_source: str | None = None
    dose: float | None = None
    beam_energy: float | None = None
    convergence_angle: float | None = None
    elements: tuple[str, ...] | None = None
    formula: str | None = None
    mask: Bool[np.ndarray, "H W"] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
