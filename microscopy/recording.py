"""What the detector records while the probe visits its positions: signal, dirt, defects, shot noise, then the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from microscopy.artefacts import contamination
from microscopy.defects import PlacedDefect
from microscopy.detector import phase_gradient
from microscopy.integration import integrate_dpc
from microscopy.multislice import CellImage
from microscopy.noise import poisson_counts
from microscopy.scan import View, probe_positions, raster
from microscopy.simulation_records import SimulationOptions

_ROWS = 128  # scan lines sampled at once: bounds memory, and is part of the order in which noise is drawn

_STREAMS = ("origin", "drift", "jitter", "background", "noise", "astigmatism", "defects")


def stream(options: SimulationOptions, use: str) -> np.random.Generator:
    """Independent random numbers for one use."""
    return np.random.default_rng([options.seed, _STREAMS.index(use)])


def recorded(
    cell: CellImage,
    view: View,
    axes: np.ndarray,
    options: SimulationOptions,
    artefacts: Mapping[str, float],
    drift: np.ndarray,
    defects: Sequence[PlacedDefect] = (),
) -> Float[np.ndarray, "H W"]:
    """Scan, count and combine.

    Parameters
    ----------
    cell, view
        The perfect crystal, and how it lies in the image.
    axes
        Orthogonal; its columns are the directions of the first two quadrants in the image.
    options, artefacts
        As given, and the strength of every artefact.
    drift
        How far the specimen moves during the frame, (x, y) in Å.
    defects
        Where the crystal is not perfect.
    """
    jitter = artefacts["line_jitter"]
    points = probe_positions(options.shape, options.pixel_size, drift, jitter, stream(options, "jitter"))
    dirt, strength = np.zeros((len(cell.fractions), 1, 1)), artefacts["background"]
    if strength:
        size = (options.shape, options.pixel_size)
        dirt = contamination(cell, strength, axes, *size, stream(options, "background"))
    dirt = np.broadcast_to(dirt, (len(dirt), *options.shape))
    rng = stream(options, "noise")
    area = options.pixel_size[0] * options.pixel_size[1]
    signal = np.empty((2 if cell.segmented else 1, *options.shape))
    for start in range(0, options.shape[0], _ROWS):
        rows = slice(start, start + _ROWS)
        slab_points = view.to_slab(points[rows])
        fractions = cell.sample(slab_points) + dirt[:, rows]
        for defect in defects:
            defect.add_to(fractions, slab_points)
        if options.dose is not None:
            fractions = poisson_counts(fractions, options.dose, area, rng) / (options.dose * area)
        signal[:, rows] = phase_gradient(fractions, cell.optics) if cell.segmented else fractions
    if not cell.segmented:
        return np.asarray(signal[0])
    gradient = np.einsum("ij,jhw->ihw", axes, signal)
    image, _ = integrate_dpc(gradient[1], gradient[0], options.pixel_size)
    # Integration takes the mean gradient for descan and removes it. There is none here: the mean belongs to the cells
    # that the edges cut, and without it the image would be tilted.
    nominal = raster(options.shape, options.pixel_size)
    return np.asarray(image + (nominal - nominal.mean(axis=(0, 1))) @ gradient.mean(axis=(1, 2)))
