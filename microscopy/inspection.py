"""What is in a file, before any run: every signal with its shape, calibration and range."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from microscopy.errors import ReadError
from microscopy.micrograph import Modality
from microscopy.preprocess import MAX_PIXELS
from microscopy.readers import Signal, digest, list_signals
from microscopy.readers.guard import guarded


@dataclass(frozen=True)
class SignalInfo:
    """One signal of a file.

    Attributes
    ----------
    index, name
        Either can be given as ``--signal``.
    shape
        Pixels: (H, W), (frames, H, W) for a stack, or whatever else is stored.
    channels
        Colours per pixel.
    dtype
        NumPy name of the type of one value.
    stored_pixel_size
        (y, x) step and unit as the file has them, such as ``"0.0178 nm × 0.0178 nm"``; None where it is silent.
    pixel_size
        (y, x) in Å, or None.
    field_of_view
        (y, x) in nm, or None.
    range
        Smallest and largest finite value of the (first) image; None for signals that are not real images.
    modality
        A guess from the names in the file.
    problem
        Why it cannot be read as a micrograph, or None.
    notes
        Sentences on calibration and stacks.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    channels: int
    dtype: str
    stored_pixel_size: str | None
    pixel_size: tuple[float, float] | None
    field_of_view: tuple[float, float] | None
    range: tuple[float, float] | None
    modality: Modality
    problem: str | None
    notes: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether it can be read as a micrograph."""
        return self.problem is None


@dataclass(frozen=True)
class Inspection:
    """A file, what it is, and its signals; beam energy in eV and convergence semi-angle in mrad, or None."""

    path: str
    format: str
    sha256: str
    signals: tuple[SignalInfo, ...]
    beam_energy: float | None = None
    convergence_angle: float | None = None


def inspect_file(path: Path) -> Inspection:
    """List every signal of a file.

    Raises
    ------
    ReadError
        If the file cannot be opened as any known format; a signal that is no usable image is listed, not raised.
    """
    path = Path(path)
    file_format, signals = list_signals(path)
    with guarded(path, file_format.name):
        sha256 = digest(path)
        infos = tuple(_describe(path, index, signal, file_format.name) for index, signal in enumerate(signals))
    first = signals[0]
    return Inspection(str(path), file_format.name, sha256, infos, first.beam_energy, first.convergence_angle)


def _describe(path: Path, index: int, signal: Signal, format_name: str) -> SignalInfo:
    calibration = signal.calibration
    size = calibration.pixel_size
    field = None
    if size is not None:
        height, width = signal.shape[-2:]
        field = (height * size[0] / 10, width * size[1] / 10)
    problem = signal.problem
    span = None
    try:
        with guarded(path, format_name):
            span = _range(signal)
    except ReadError as error:
        problem = problem or str(error)
    notes = [calibration.problem] if calibration.problem and not calibration.reciprocal else []
    if problem is None and signal.frames > 1:
        notes.append(f"a stack of {signal.frames} images: choose with --frame")
    if signal.vector:
        notes.append("a DPC vector image: integrated to iDPC when read")
    return SignalInfo(
        index=index,
        name=signal.name,
        shape=signal.shape,
        channels=signal.channels,
        dtype=str(signal.dtype),
        stored_pixel_size=_stored(signal),
        pixel_size=size,
        field_of_view=field,
        range=span,
        modality=signal.modality,
        problem=problem,
        notes=tuple(notes),
    )


def _range(signal: Signal) -> tuple[float, float] | None:
    rank = len(signal.shape)
    if not 2 <= rank <= 3 or signal.dtype.kind not in "biuf" or signal.shape[-2] * signal.shape[-1] > MAX_PIXELS:
        return None
    values = signal.load(0)
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else None


def _stored(signal: Signal) -> str | None:
    axes = signal.axes[-2:]
    if len(axes) < 2 or all(axis.scale in (None, 1.0) and not axis.unit for axis in axes):
        return None
    return " × ".join(
        f"{axis.scale:.6g} {axis.unit or '(no unit)'}" if axis.scale is not None else "?" for axis in axes
    )
