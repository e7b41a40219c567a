"""Ordinary images: png, jpg and tif. A tif's pixel size comes from ImageJ, OME or the microscope's own tags."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from microscopy.calibration import Axis
from microscopy.errors import ReadError
from microscopy.preprocess import MAX_PIXELS
from microscopy.readers.rosetta import axes_of, optics_of
from microscopy.readers.signal import Signal


def read_picture(path: Path) -> list[Signal]:
    """List the image of a png or jpg; it never carries a pixel size (its resolution tag is for printers)."""
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG", "JPEG", "BMP")) as picture:
            width, height = picture.size
            mode = picture.mode
    except Image.DecompressionBombError:
        raise ReadError(f"{path}: is too large; crop or bin it to at most {MAX_PIXELS / 1e6:.0f} megapixels") from None
    grey = mode in ("1", "L") or mode.startswith(("I", "F"))
    target = {"P": "RGBA", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "1": "L"}.get(mode, mode)

    def load(frame: int) -> np.ndarray:
        with Image.open(path, formats=("PNG", "JPEG", "BMP")) as picture:
            return np.asarray(picture if picture.mode == target else picture.convert(target))

    lossy = "JPEG is lossy: fine detail and noise were altered when it was saved"
    return [
        Signal(
            name="image",
            shape=(height, width),
            dtype=np.dtype(np.uint16 if mode.startswith("I;16") else np.int32 if mode == "I" else np.uint8),
            axes=(Axis(height), Axis(width)),
            load=load,
            channels=1 if grey else len(target),
            notices=(lossy,) if path.suffix.lower() in (".jpg", ".jpeg") else (),
        )
    ]


def read_tif(path: Path) -> list[Signal]:
    """List every series of a tif whose header declares a reasonable size."""
    import tifffile

    with tifffile.TiffFile(path) as tif:
        if not tif.series:
            raise ValueError("it holds no image")
        ome = _ome_axes(tif.ome_metadata) if tif.is_ome else None
        imagej = _imagej_axes(tif) if tif.is_imagej else None
        info = _imagej_info(tif) if tif.is_imagej else {}
        signals = []
        for index, series in enumerate(tif.series):
            pixels = int(np.prod(series.shape, dtype=np.int64))
            vendor = None
            if ome is None and imagej is None and pixels <= MAX_PIXELS and not _needs_pillow(series):
                series.asarray()  # so that RosettaSciIO, which leaves a damaged file open, meets only sound ones
                vendor = _vendor(path, index)
            signals.append(replace(_tif_signal(path, index, series, ome or imagej, vendor), **info))
        return signals


def _tif_signal(path: Path, index: int, series: Any, known: tuple[Axis, Axis] | None, vendor: Any) -> Signal:
    import tifffile

    letters = series.axes
    colour = "S" in letters and series.shape[letters.index("S")] in (2, 3, 4)
    position = letters.index("S") if colour else -1
    channels = series.shape[position] if colour else 1
    rest = tuple(n for k, n in enumerate(series.shape) if k != position)
    shape = tuple(n for n in rest if n != 1) if len(rest) > 2 else rest
    page = series.keyframe
    inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
    pixels = int(np.prod(series.shape, dtype=np.int64))

    def load(frame: int) -> np.ndarray:
        if pixels > 4 * MAX_PIXELS:
            raise ReadError(f"{path}: the stack holds {pixels / 1e6:.0f} megapixels, too many; extract one frame")
        with tifffile.TiffFile(path) as tif:
            series = tif.series[index]
            values = _decode_with_pillow(path, series) if _needs_pillow(series) else np.asarray(series.asarray())
        if colour:
            values = np.moveaxis(values, position, -1)
            return values.reshape(*shape, channels)[frame if len(shape) == 3 else ...]
        values = values.reshape(shape)[frame if len(shape) == 3 else ...]
        return -values.astype(np.float64) if inverted else values

    axes = known or (_vendor_axes(vendor) if vendor is not None else None) or (Axis(shape[-2]), Axis(shape[-1]))
    energy, angle = optics_of(vendor) if vendor is not None else (None, None)
    return Signal(
        name=series.name or f"image {index}",
        shape=tuple(int(n) for n in shape),
        dtype=np.dtype(series.dtype),
        axes=(*(Axis(int(n)) for n in shape[:-2]), *axes),
        load=load,
        channels=channels,
        original=vendor["original_metadata"] if vendor is not None else {},
        beam_energy=energy,
        convergence_angle=angle,
        notices=("stored as white-is-zero; inverted",) if inverted and not colour else (),
    )


def _imagej_info(tif: Any) -> dict[str, Any]:
    """Optics and dose from the JSON that this project's images carry in ImageJ's "Info"; nothing from other text."""
    text = (tif.imagej_metadata or {}).get("Info", "")
    try:
        info = json.loads(text)
    except (TypeError, ValueError):
        return {}
    if not isinstance(info, dict):
        return {}
    numbers = {
        name: float(info[name])
        for name in ("beam_energy", "convergence_angle", "dose")
        if isinstance(info.get(name), int | float) and np.isfinite(info[name]) and info[name] > 0
    }
    return {**numbers, "hint": str(info.get("modality", ""))[:40], "original": info}


def _needs_pillow(series: Any) -> bool:
    """LZW and JPEG inside a tif: tifffile leaves them to a large optional package, Pillow has them."""
    import tifffile

    return series.keyframe.compression in (tifffile.COMPRESSION.LZW, tifffile.COMPRESSION.JPEG)


def _decode_with_pillow(path: Path, series: Any) -> np.ndarray:
    from PIL import Image

    pages = []
    with Image.open(path, formats=("TIFF",)) as picture:
        for page in series.pages:
            picture.seek(page.index)
            pages.append(np.asarray(picture))
    return np.stack(pages).reshape(series.shape)


def _vendor(path: Path, index: int) -> Any:
    """See what RosettaSciIO makes of the tags of Gatan, FEI, Zeiss, JEOL, TVIPS and Olympus; None when nothing."""
    from rsciio.tiff import file_reader

    entries = file_reader(str(path))
    return entries[index] if index < len(entries) else None


def _vendor_axes(entry: Any) -> tuple[Axis, Axis] | None:
    axes = axes_of(entry)
    by_name = {axis.name: axis for axis in axes}
    if "height" in by_name and "width" in by_name:
        return by_name["height"], by_name["width"]
    return (axes[-2], axes[-1]) if len(axes) >= 2 else None


def _imagej_axes(tif: Any) -> tuple[Axis, Axis] | None:
    """ImageJ keeps pixels per unit in the resolution tags and the unit in its description."""
    unit = str((tif.imagej_metadata or {}).get("unit") or "")
    tags = tif.pages[0].tags
    if not unit or "XResolution" not in tags or "YResolution" not in tags:
        return None
    steps = []
    for name in ("YResolution", "XResolution"):
        numerator, denominator = tags[name].value
        steps.append(denominator / numerator if numerator else None)
    height, width = tif.pages[0].shape[:2]
    return Axis(height, steps[0], unit, "y"), Axis(width, steps[1], unit, "x")


def _ome_axes(xml: str | None) -> tuple[Axis, Axis] | None:
    """PhysicalSizeY and PhysicalSizeX of the first image; OME's default unit is µm."""
    if not xml:
        return None
    for node in ElementTree.fromstring(xml).iter():
        if node.tag.rpartition("}")[2] == "Pixels":
            steps = [node.get(f"PhysicalSize{axis}") for axis in "YX"]
            if steps[0] is None or steps[1] is None:
                return None
            units = [node.get(f"PhysicalSize{axis}Unit", "µm") for axis in "YX"]
            sizes = [int(node.get(f"Size{axis}", "0")) for axis in "YX"]
            return Axis(sizes[0], float(steps[0]), units[0], "y"), Axis(sizes[1], float(steps[1]), units[1], "x")
    return None
