"""Microscope formats, through RosettaSciIO."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from microscopy.calibration import Axis
from microscopy.readers.signal import Signal

HINTS = (
    "ImageList.TagGroup0.ImageTags.DataBar.Signal Name",
    "DetectorMetadata.DetectorName",
    "DetectorMetadata.DetectorType",
)
"""Where vendors keep the name of the detector in their own metadata."""


def read_rosetta(path: Path, module: str, **options: Any) -> list[Signal]:
    """List every signal that ``rsciio.<module>`` finds in a file; pixels stay on disk where the reader is lazy."""
    reader = importlib.import_module(f"rsciio.{module}").file_reader
    return [_signal(entry, index, module) for index, entry in enumerate(reader(str(path), **options))]


def axes_of(entry: Mapping[str, Any]) -> tuple[Axis, ...]:
    """Take the axes of one RosettaSciIO dictionary, in array order."""
    shape = entry["data"].shape
    axes = list(entry["axes"])
    if len(axes) != len(shape):
        return tuple(Axis(int(n)) for n in shape)
    return tuple(
        Axis(int(size), _number(axis.get("scale")), str(axis.get("units") or ""), str(axis.get("name") or ""))
        for size, axis in zip(shape, axes, strict=True)
    )


def _signal(entry: Mapping[str, Any], index: int, module: str) -> Signal:
    data = entry["data"]
    original = entry.get("original_metadata") or {}
    title = str(entry.get("metadata", {}).get("General", {}).get("title") or "").strip()
    keep = [k for k, n in enumerate(data.shape) if n != 1] if data.ndim > 2 else list(range(data.ndim))
    axes = axes_of(entry)
    colours = data.dtype.names
    known = optics_of(entry)

    def load(frame: int) -> np.ndarray:
        values = data.reshape([data.shape[k] for k in keep])
        values = values[frame] if values.ndim == 3 else values
        if hasattr(values, "compute"):
            values = values.compute(scheduler="synchronous")
        values = np.asarray(values)
        return np.stack([values[c] for c in colours], axis=-1) if colours else values

    return Signal(
        name=title if title and title != "__unnamed__" else f"image {index}",
        shape=tuple(int(data.shape[k]) for k in keep),
        dtype=data.dtype[0] if colours else data.dtype,
        axes=tuple(axes[k] for k in keep),
        load=load,
        channels=len(colours) if colours else 1,
        hint=" ".join(str(look_up(original, key) or "") for key in HINTS).strip(),
        original=original,
        beam_energy=known[0],
        convergence_angle=known[1],
        vector=module == "emd" and data.dtype.kind == "c" and "dpc" in title.lower(),
    )


def look_up(tree: Mapping[Any, Any], path: str) -> Any:
    """Value at a dotted path of nested mappings, or None."""
    node: Any = tree
    for key in path.split("."):
        if not isinstance(node, Mapping) or key not in node:
            return None
        node = node[key]
    return node


def optics_of(entry: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Beam energy in eV and convergence semi-angle in mrad, where the metadata has them.

    HyperSpy's convention, kept by RosettaSciIO, is keV and mrad; values may be filled in already or wait in the
    reader's table of mappings from the vendor's keys.
    """
    metadata = entry.get("metadata", {})
    original = entry.get("original_metadata") or {}
    energy = look_up(metadata, "Acquisition_instrument.TEM.beam_energy")
    angle = look_up(metadata, "Acquisition_instrument.TEM.convergence_angle")
    for source, target in (entry.get("mapping") or {}).items():
        destination, convert = target if isinstance(target, Sequence) and len(target) == 2 else (None, None)
        value = look_up(original, source)
        if value is None or not isinstance(destination, str):
            continue
        value = convert(value) if convert is not None else value
        if destination.endswith(".beam_energy"):
            energy = energy or value
        elif destination.endswith(".convergence_angle"):
            angle = angle or value
    radians = _number(look_up(original, "Optics.BeamConvergence"))  # Velox
    kilovolts, milliradians = _number(energy), _number(angle)
    if milliradians is None and radians is not None:
        milliradians = radians * 1e3
    return (kilovolts * 1e3 if kilovolts else None), milliradians or None


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
