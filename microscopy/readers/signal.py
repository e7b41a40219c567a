"""One signal of a file, seen before its pixels are loaded; and whether it can be a micrograph."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from microscopy.calibration import Axis, Calibration, calibrate
from microscopy.micrograph import Modality
from microscopy.preprocess import MAX_PIXELS, MIN_SIDE

_MODALITIES = (
    (re.compile(r"idpc|icom", re.IGNORECASE), Modality.IDPC),
    (re.compile(r"haadf", re.IGNORECASE), Modality.HAADF),
    (re.compile(r"abf", re.IGNORECASE), Modality.ABF),
    (re.compile(r"phase|ptycho", re.IGNORECASE), Modality.PHASE),
    (re.compile(r"adf|(?<![a-z])df", re.IGNORECASE), Modality.ADF),
)
"""Detector names to modality, first match wins, as HAADF contains ADF; a lone DPC or dDPC component is none of them."""

_FFT = re.compile(r"\bfft\b|diffractogram|power spectrum", re.IGNORECASE)


@dataclass(frozen=True)
class Signal:
    """A named array in a file.

    Attributes
    ----------
    name
        As the file has it; made up ("image 0") where the file is silent.
    shape
        Pixels: (H, W), or (frames, H, W) for a stack; the colour axis is not counted.
    dtype
        Of one pixel, or of one colour.
    axes
        As many as ``shape`` is long.
    load
        Returns frame k, or the only one (k is then ignored): (H, W), or (H, W, channels) when ``channels`` > 1.
    channels
        Colours per pixel.
    hint
        What the detector is called in the metadata.
    original
        The file's metadata, as its reader returned it.
    beam_energy, convergence_angle, dose
        eV, mrad and electrons per Å², as in the file, unchecked; or None.
    vector
        True where complex numbers are the x (real) and y (imaginary) parts of a DPC vector.
    notices
        Sentences on what the reader assumed.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    axes: tuple[Axis, ...]
    load: Callable[[int], np.ndarray]
    channels: int = 1
    hint: str = ""
    original: Mapping[Any, Any] = field(default_factory=dict)
    beam_energy: float | None = None
    convergence_angle: float | None = None
    dose: float | None = None
    vector: bool = False
    notices: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        """Number of images; 1 unless this is a stack."""
        return self.shape[0] if len(self.shape) == 3 else 1

    @property
    def calibration(self) -> Calibration:
        """Pixel size of the last two axes."""
        if len(self.axes) < 2:
            return Calibration()
        return calibrate(self.axes[-2], self.axes[-1])

    @property
    def modality(self) -> Modality:
        """What the names in the file say; never the name of the file itself, which a user may change."""
        if self.vector:
            return Modality.IDPC
        for text in (self.name, self.hint):
            for pattern, modality in _MODALITIES:
                if pattern.search(text):
                    return modality
        return Modality.UNKNOWN

    @property
    def problem(self) -> str | None:
        """Why this signal can never be read as a micrograph, or None."""
        rank = len(self.shape)
        size = " × ".join(str(n) for n in self.shape)
        if rank < 2:
            return f"is one-dimensional ({size}), a spectrum or a line profile, not an image"
        if rank > 3:
            return f"has {rank} dimensions ({size}), not an image; export one image from it"
        if self.dtype.kind not in "biufc":
            return f"holds {self.dtype}, not numbers"
        if self.calibration.reciprocal:
            return f"is not a real-space image: {self.calibration.problem}"
        if _FFT.search(self.name):
            return "is a Fourier transform; choose the image it was made from"
        if self.dtype.kind == "c" and not self.vector:
            return "holds complex numbers (a Fourier transform or a wave); export a real image, such as its phase"
        height, width = self.shape[-2:]
        if min(height, width) < MIN_SIDE:
            return f"is too small, {height} × {width} pixels; at least {MIN_SIDE} × {MIN_SIDE} are needed"
        if height * width > MAX_PIXELS:
            return f"is too large, {height} × {width} pixels; crop or bin it to at most {MAX_PIXELS / 1e6:.0f} million"
        return None
