"""Units of length as files spell them, and what they are in Å."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass

ANGSTROM = {
    "m": 1e10,
    "mm": 1e7,
    "um": 1e4,
    "μm": 1e4,
    "micron": 1e4,
    "microns": 1e4,
    "micrometer": 1e4,
    "nm": 10.0,
    "nanometer": 10.0,
    "nanometers": 10.0,
    "A": 1.0,
    "Å": 1.0,
    "ang": 1.0,
    "angstrom": 1.0,
    "angstroms": 1.0,
    "Ångström": 1.0,
    "pm": 0.01,
    "picometer": 0.01,
}
"""Å per unit, under the spellings met in files (after Unicode normalisation)."""

SILENT = frozenset({"", "[]", "none", "undefined", "<undefined>", "px", "pixel", "pixels", "a.u.", "inch", "in", "cm"})
"""Units that say nothing about the specimen; inch and cm are a printing resolution."""

_OTHER = re.compile(r"/|[-−]\d|rad|deg|°|ev|hz|^[munpf]?s$|^sec|channel", re.IGNORECASE)
"""Reciprocal lengths, angles, energies, times: the axis is not a direction in the image plane."""

ANISOTROPY = 0.005
"""Relative difference of the two pixel sizes above which the reader says so."""

COARSE = 2.0
"""Å: larger pixels cannot show atomic columns, which lie 1 to 3 Å apart."""


@dataclass(frozen=True)
class Axis:
    """One axis of a stored array: its size in pixels, and step and unit as the file has them."""

    size: int
    scale: float | None = None
    unit: str = ""
    name: str = ""


@dataclass(frozen=True)
class Calibration:
    """What a file says about the size of a pixel.

    Attributes
    ----------
    pixel_size
        (y, x) in Å, or None.
    problem
        Why there is no pixel size; None when there is one, or when the file is simply silent.
    reciprocal
        True when an axis is an angle, an energy, a time or a reciprocal length: not a real-space image.
    """

    pixel_size: tuple[float, float] | None = None
    problem: str | None = None
    reciprocal: bool = False


def normalise_unit(unit: str | None) -> str:
    r"""Spell a unit one way: compatibility characters and ``\u00B5`` escapes resolved, words in lower case."""
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), str(unit or ""))
    text = unicodedata.normalize("NFKC", text).strip().strip("\x00")
    return text if len(text) <= 2 or text in ANGSTROM else text.lower()


def angstroms(unit: str | None) -> float | None:
    """Å in one ``unit``; None when it is not a length."""
    return ANGSTROM.get(normalise_unit(unit))


def calibrate(y: Axis, x: Axis) -> Calibration:
    """Pixel size in Å from the two image axes of a file.

    Only a length counts: a reciprocal length or an angle marks a diffraction pattern, and a pixel count
    or a printing resolution is no calibration.
    """
    units = [normalise_unit(axis.unit) for axis in (y, x)]
    factors = [ANGSTROM.get(unit) for unit in units]
    for unit, factor in zip(units, factors, strict=True):
        if factor is None and unit.lower() not in SILENT and _OTHER.search(unit):
            return Calibration(problem=f"its axis is in {unit}, not a length", reciprocal=True)
    if factors[0] is None or factors[1] is None:
        strange = [unit for unit in units if unit not in ANGSTROM and unit.lower() not in SILENT]
        if strange:
            return Calibration(problem=f"its pixel size is in {strange[0]!r}, not a length")
        if any(axis.scale not in (None, 0.0, 1.0) for axis in (y, x)):
            return Calibration(problem=f"its axis step {y.scale:.6g} has no unit" if y.scale else "it has no unit")
        return Calibration()
    scales = [axis.scale for axis in (y, x)]
    if any(scale is None or not math.isfinite(scale) or scale <= 0 for scale in scales):
        return Calibration(problem=f"its pixel size {scales[0]} × {scales[1]} {units[1]} is not positive")
    sy, sx = (float(scale or 0.0) * float(factor or 0.0) for scale, factor in zip(scales, factors, strict=True))
    return Calibration(pixel_size=(sy, sx))


def calibration_notices(pixel_size: tuple[float, float]) -> tuple[str, ...]:
    """Sentences about a pixel size (y, x) in Å that deserves attention."""
    sy, sx = pixel_size
    notices = []
    if abs(sx - sy) > ANISOTROPY * (sx + sy) / 2:
        notices.append(f"pixels are not square: {sy:.5g} Å (y) by {sx:.5g} Å (x); both are kept")
    if max(sy, sx) > COARSE:
        notices.append(f"pixels of {max(sy, sx):.4g} Å are too coarse to show atomic columns")
    return tuple(notices)
