"""Every artefact at a telling strength, on one material, in one picture.

python -m benchmarks.contact_sheet -o docs/images/artefacts.png
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from pymatgen.core.structure import Structure

from benchmarks.plots import png
from library.store import open_libraries
from microscopy.cache import cache_folder
from microscopy.simulation import SimulationOptions, simulate
from tasks.store import write_atomically

SHOWN: Mapping[str, float] = {
    "scan_shear": 0.15,
    "scan_scale": 0.2,
    "calibration": 0.1,
    "drift": 5.0,
    "line_jitter": 0.3,
    "defocus": 80.0,
    "astigmatism": 60.0,
    "source_size": 0.6,
    "tilt": 10.0,
    "background": 2.0,
    "quantise": 2.0,
    "vacancies": 0.15,
    "substitutions": 0.15,
}
"""Strengths that a person sees: beyond what the benchmark's suites ask of the product."""

UNITS = {
    "calibration": "pixel size stated",
    "drift": "Å",
    "line_jitter": "Å rms",
    "defocus": "Å",
    "astigmatism": "Å",
    "source_size": "Å",
    "tilt": "°",
    "quantise": "bits",
}

MATERIAL = "MoSe2"
BASE = SimulationOptions(shape=(220, 220), pixel_size=(0.12, 0.12), dose=1e5, rotation=12.0, origin=(1.0, 1.0), seed=7)
COLUMNS = 4


def contact_sheet(structure: Structure, cache: Path | None = None) -> bytes:
    """PNG of the image without artefacts, at a low dose, with each artefact, and in a small field of view."""
    few = (64, 64)
    views = {
        "none": BASE,
        "dose 1000 e/Å²": replace(BASE, dose=1e3),
        **{_label(name, value): replace(BASE, artefacts={name: value}) for name, value in SHOWN.items()},
        "field of view of 2–3 cells": replace(BASE, shape=few),
    }
    rows = -(-len(views) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(2.5 * COLUMNS, 2.65 * rows))
    for axis in axes.flat:
        axis.axis("off")
    for axis, (name, options) in zip(axes.flat, views.items(), strict=False):
        micrograph = simulate(structure, options, cache).micrograph
        assert micrograph.pixel_size is not None
        side = options.shape[0] * micrograph.pixel_size[0]
        low, high = np.percentile(micrograph.image, (0.5, 99.8))
        axis.imshow(micrograph.image, cmap="gray", vmin=low, vmax=high, extent=(0, side, side, 0))
        axis.set_title(name, fontsize=8.5)
        _scale_bar(axis, side)
    figure.tight_layout(pad=0.6)
    return _grey(png(figure))


def _grey(picture: bytes) -> bytes:
    """The same picture without the colours that it does not have: a third of the size."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("L").save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _label(name: str, value: float) -> str:
    unit = UNITS.get(name, "")
    text = f"{value:+.0%}" if name == "calibration" else f"{value:g}"
    return f"{name.replace('_', ' ')} {text} {unit}".strip()


def _scale_bar(axis: plt.Axes, side: float) -> None:
    """5 Å by the pixel size that the file states."""
    x, y = 0.06 * side, 0.94 * side
    axis.plot([x, x + 5.0], [y, y], color="w", linewidth=2.5, solid_capstyle="butt")
    axis.text(x, y - 0.02 * side, "5 Å", color="w", fontsize=7, va="bottom")


def main(arguments: list[str] | None = None) -> int:
    """Write the picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contact_sheet", description=main.__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="PNG to write")
    options = parser.parse_args(arguments)
    library = open_libraries(None)
    structure = library.template(int(library.rows(formula=MATERIAL)[0])).structure
    write_atomically(options.output, contact_sheet(structure, cache_folder() / "bench" / "cells"))
    print(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
