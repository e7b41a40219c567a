"""Read any supported file as a Micrograph."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from microscopy.calibration import calibration_notices
from microscopy.errors import ReadError
from microscopy.integration import CURL_LIMIT, integrate_dpc
from microscopy.micrograph import Micrograph, Modality
from microscopy.preprocess import MIN_SIDE, crop_scale_bar, flatten_colour, repair
from microscopy.readers.formats import TIA, list_signals
from microscopy.readers.guard import guarded
from microscopy.readers.metadata import plain
from microscopy.readers.signal import Signal

__all__ = ["ReadOptions", "Signal", "choose", "digest", "list_signals", "read_micrograph"]

ENERGIES = (10e3, 1500e3)
"""eV: electron microscopes; a value outside is a placeholder."""

ANGLES = (5.0, 80.0)
"""mrad: a probe of less than 5 mrad is wider than the distance between atoms."""

FAINT = 1e-3
"""Contrast as a share of the largest value below which single precision (1e-7) would start to show steps."""

MISMATCH = 0.005
"""Relative difference between the user's and the file's pixel size that is called a disagreement."""


@dataclass(frozen=True)
class ReadOptions:
    """What the user says about a file; it wins over what the file says.

    Attributes
    ----------
    pixel_size
        (y, x) in Å.
    modality
        Detector signal.
    dose
        Electrons per Å².
    elements
        Chemical symbols, the complete set.
    formula
        Reduced formula.
    signal
        Name (exact, or any case when unique) or index of the signal to read.
    frame
        Index of the image of a stack, or "mean" for the unaligned mean of all.
    crop_scale_bar
        Cut off a burnt-in scale bar or banner.
    beam_energy
        eV.
    convergence_angle
        Semi-angle, mrad.
    """

    pixel_size: tuple[float, float] | None = None
    modality: Modality | None = None
    dose: float | None = None
    elements: tuple[str, ...] | None = None
    formula: str | None = None
    signal: str | None = None
    frame: int | Literal["mean"] | None = None
    crop_scale_bar: bool = False
    beam_energy: float | None = None
    convergence_angle: float | None = None

    def __post_init__(self) -> None:
        numbers = {
            "pixel size": self.pixel_size or (),
            "dose": (self.dose,),
            "beam energy": (self.beam_energy,),
            "convergence angle": (self.convergence_angle,),
        }
        for name, values in numbers.items():
            for value in values:
                if value is not None and not (math.isfinite(value) and value > 0):
                    raise ReadError(f"the {name} must be a positive number, not {value}")


def read_micrograph(path: Path, options: ReadOptions | None = None) -> Micrograph:
    """Read one image and everything the file and the user know about it.

    Parameters
    ----------
    path
        A file of any format in docs/formats.md.
    options
        What the user says; by default nothing.

    Returns
    -------
    Micrograph
        Image as float32 in the units of the file, finite; pixel size None where neither file nor user gives it.

    Raises
    ------
    ReadError
        If the file cannot be read, holds no image or several, or the image cannot be analysed.
    """
    path = Path(path)
    options = options or ReadOptions()
    file_format, signals = list_signals(path)
    signal = choose(path, signals, options.signal)
    with guarded(path, file_format.name):
        pixels, notices = _pixels(path, signal, options.frame)
        sha256 = digest(path)
    size, source, about_size = _pixel_size(signal, options)
    notices = [*signal.notices, *notices, *about_size]
    image, more = _finished(path, signal, pixels, size, options)
    image, mask, repaired = repair(image, str(path))
    notices += more + ([repaired] if repaired else [])
    believed = (image if mask is None else image[mask]).astype(np.float64)
    low, high = float(believed.min()), float(believed.max())
    if low == high:
        value = "zero" if low == 0 else f"{low:.6g}"
        raise ReadError(f"{path}: every pixel is {value}; there is nothing to see, export the image again")
    if high - low < FAINT * max(abs(low), abs(high)):
        image = image - low
        notices.append(f"a constant {low:.8g} subtracted: the contrast on top of it would be lost to rounding")
    energy = _plausible(options.beam_energy, signal.beam_energy, ENERGIES, "beam energy", "eV", notices)
    angle = _plausible(
        options.convergence_angle, signal.convergence_angle, ANGLES, "convergence angle", "mrad", notices
    )
    return Micrograph(
        image=image.astype(np.float32),
        pixel_size=size,
        pixel_size_source=source,
        sha256=sha256,
        source=str(path),
        modality=options.modality or signal.modality,
        dose=options.dose or signal.dose,
        beam_energy=energy,
        convergence_angle=angle,
        elements=tuple(sorted(set(options.elements))) if options.elements else None,
        formula=options.formula,
        mask=mask,
        metadata={"format": file_format.name, "signal": signal.name, "original": plain(signal.original)},
        notices=tuple(notices),
    )


def choose(path: Path, signals: list[Signal], wanted: str | None) -> Signal:
    """Choose the signal a user names, or the only one that can be a micrograph.

    Raises
    ------
    ReadError
        If the name fits none or several, or several could be meant: the message lists them.
    """
    listing = ", ".join(f"{index}: {signal.name}" for index, signal in enumerate(signals))
    if wanted is not None:
        exact = [s for s in signals if s.name == wanted]
        chosen = exact or [s for s in signals if s.name.lower() == wanted.lower()]
        if not chosen and wanted.isdecimal() and int(wanted) < len(signals):
            chosen = [signals[int(wanted)]]
        if len(chosen) != 1:
            raise ReadError(f"{path}: {len(chosen) or 'no'} signals are called {wanted!r}; choose by index: {listing}")
        if chosen[0].problem:
            raise ReadError(f"{path}: signal {chosen[0].name} {chosen[0].problem}")
        return chosen[0]
    usable = [s for s in signals if s.problem is None]
    if len(usable) == 1:
        return usable[0]
    if not usable:
        if len(signals) == 1:
            raise ReadError(f"{path}: {signals[0].name} {signals[0].problem}")
        reasons = list(dict.fromkeys(f"{s.problem}" for s in signals))
        raise ReadError(f"{path}: none of its {len(signals)} signals is a usable image: each {' or '.join(reasons)}")
    names = ", ".join(f"{index}: {s.name}" for index, s in enumerate(signals) if s.problem is None)
    raise ReadError(f"{path}: holds {len(usable)} images; choose one with --signal NAME ({names})")


def digest(path: Path) -> str:
    """SHA-256 of a file; for an emi, of it and the ser files that hold its pixels."""
    state = hashlib.sha256()
    parts = [path]
    if path.suffix.lower() in TIA.suffixes[1:]:
        parts += sorted(p for p in path.parent.iterdir() if p.suffix == ".ser" and p.stem.startswith(f"{path.stem}_"))
    for part in parts:
        with part.open("rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                state.update(block)
    return state.hexdigest()


def _pixels(path: Path, signal: Signal, frame: int | Literal["mean"] | None) -> tuple[np.ndarray, list[str]]:
    """Load a frame. Frames are never averaged unasked: unaligned, they would blur the lattice by their drift."""
    count = signal.frames
    if count == 1:
        return signal.load(0), []
    if frame is None:
        raise ReadError(
            f"{path}: {signal.name} is a stack of {count} images; choose one with --frame K (0 to {count - 1}), "
            f"or --frame mean for their unaligned mean"
        )
    if frame == "mean":
        total = signal.load(0).astype(np.complex128 if signal.dtype.kind == "c" else np.float64)
        for index in range(1, count):
            total += signal.load(index)
        return total / count, [f"mean of {count} frames, not aligned: drift between them blurs the image"]
    if not 0 <= frame < count:
        raise ReadError(f"{path}: there is no frame {frame}; {signal.name} has frames 0 to {count - 1}")
    return signal.load(frame), [f"frame {frame} of {count} read"]


def _pixel_size(signal: Signal, options: ReadOptions) -> tuple[tuple[float, float] | None, str | None, list[str]]:
    calibration = signal.calibration
    stored = calibration.pixel_size
    if options.pixel_size is None:
        if stored is None:
            notices = [f"no pixel size: {calibration.problem}; give --pixel-size"] if calibration.problem else []
            return None, None, notices
        return stored, "file", list(calibration_notices(stored))
    given = options.pixel_size
    if stored is None:
        said = calibration.problem or "the file has none"
        notices = [f"pixel size {_size(given)} given by the user; {said}"]
    else:
        far = max(abs(g / s - 1) for g, s in zip(given, stored, strict=True)) > MISMATCH
        verb = "overrides" if far else "agrees with"
        notices = [f"pixel size {_size(given)} given by the user {verb} {_size(stored)} in the file"]
    return given, "user", notices + list(calibration_notices(given))


def _size(size: tuple[float, float]) -> str:
    y, x = (f"{value:.5g}" for value in size)
    return f"{y} Å" if y == x else f"{y} × {x} Å"


def _finished(
    path: Path, signal: Signal, pixels: np.ndarray, size: tuple[float, float] | None, options: ReadOptions
) -> tuple[np.ndarray, list[str]]:
    """One real channel, cropped if the user asked for it."""
    notices: list[str] = []
    if signal.vector:
        if not np.isfinite(pixels).all():
            raise ReadError(f"{path}: the DPC signal has NaN or infinite pixels and cannot be integrated; crop it")
        pixels, curl = integrate_dpc(pixels.imag, pixels.real, size or (1.0, 1.0))
        notices.append(f"DPC integrated to iDPC: real part along x, imaginary part along y; {curl:.0%} is no gradient")
        if curl > CURL_LIMIT:
            notices.append("the DPC vectors are mostly curl: the detector axes are probably turned against the scan")
    if signal.channels > 1:
        pixels, notice = flatten_colour(pixels)
        notices.append(notice)
    if options.crop_scale_bar:
        pixels, notice = crop_scale_bar(pixels)
        notices.append(notice)
        if min(pixels.shape) < MIN_SIDE:
            raise ReadError(f"{path}: {pixels.shape[0]} rows are left without the scale bar; {MIN_SIDE} are needed")
    return pixels if pixels.dtype.kind == "f" else pixels.astype(np.float64), notices


def _plausible(
    given: float | None, stored: float | None, limits: tuple[float, float], name: str, unit: str, notices: list[str]
) -> float | None:
    """Take the user's value, else the file's where it can be meant."""
    if given is not None or stored is None:
        return given
    if limits[0] <= stored <= limits[1]:
        return stored
    notices.append(f"{name} {stored:.4g} {unit} in the file is not that of an atomic-resolution image; ignored")
    return None
