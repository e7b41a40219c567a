"""Write a micrograph as a calibrated TIFF that ImageJ, Fiji and this project's readers open with its pixel size."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from microscopy import files
from microscopy.errors import SimulationError

TIFF_SUFFIXES = (".tif", ".tiff")


def write_tiff(
    path: str | Path,
    image: Shaped[np.ndarray, "H W"],
    pixel_size: tuple[float, float],
    info: Mapping[str, Any] | None = None,
) -> Path:
    """Write one image.

    Parameters
    ----------
    path
        Ends in .tif or .tiff; its folder must exist.
    image
        float32, uint8 or uint16, shape (H, W).
    pixel_size
        (y, x) in Å; stored as ImageJ does: pixels per unit in the resolution tags, and the unit, nm, beside them.
    info
        JSON-compatible; becomes ImageJ's "Info" (Image > Show Info).

    Returns
    -------
    Path
        Of the file, which appears complete or not at all.

    Raises
    ------
    SimulationError
        When the name is not that of a TIFF, or the file cannot be written.
    """
    import tifffile

    path = Path(path)
    if path.suffix.lower() not in TIFF_SUFFIXES:
        raise SimulationError(f"{path}: images are written as TIFF; give a name that ends in .tif")
    per_nm = (10 / pixel_size[1], 10 / pixel_size[0])
    metadata = {"axes": "YX", "unit": "nm", "min": float(image.min()), "max": float(image.max())}
    if info:
        metadata["Info"] = json.dumps(info, ensure_ascii=True, sort_keys=True)
    # The tags of DigitalMicrograph, which RosettaSciIO and HyperSpy read the unit from: x before y.
    gatan = [
        (65003, "s", 0, "nm", True),
        (65004, "s", 0, "nm", True),
        (65006, "d", 1, 0.0, True),
        (65007, "d", 1, 0.0, True),
        (65009, "d", 1, pixel_size[1] / 10, True),
        (65010, "d", 1, pixel_size[0] / 10, True),
    ]
    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            image,
            imagej=True,
            resolution=per_nm,
            resolutionunit="NONE",
            metadata=metadata,
            software="",
            extratags=gatan,
        )
    return path


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text; the file appears complete or not at all."""
    path = Path(path)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Do what `microscopy.files.replacing` does.

    Raises
    ------
    SimulationError
        When the folder does not exist, is full or may not be written to.
    """
    try:
        with files.replacing(path) as temporary:
            yield temporary
    except OSError as error:
        raise SimulationError(f"cannot write {path}: {error.strerror or error}") from error
