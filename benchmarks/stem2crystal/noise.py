"""The forward model of STEM2Crystal-Bench: a Z-contrast image made worse step by step.

Its order of events is published (probe blur, counting at a dose, scan-line jitter, low-frequency background, read-out
noise, grey levels from 0 to 1; 256 × 256 pixels; levels low, mid and high); the strengths are not. Those of `LEVELS`
are ours, chosen so that a person sees the columns at once, after a look, and barely. The image before them is the
project's linear HAADF model; no multislice is needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from pymatgen.core.structure import Structure
from scipy.ndimage import gaussian_filter

from library.fingerprint import nodes
from microscopy.linear import structure_factors
from microscopy.micrograph import Micrograph, Modality
from microscopy.optics import Optics
from microscopy.scan import orthogonal_part, raster
from microscopy.slab import plane_cell

SHAPE = (256, 256)
PIXEL_SIZE = 0.15
"""Å: 38 Å of specimen, as many cells as a cut-out at atomic resolution shows."""

OPTICS = Optics(Modality.HAADF)

BACKGROUND_LENGTH = 60.0
"""Pixels, standard deviation of the smoothing of the background."""

_BLOCK = 1 << 15
"""Pixels evaluated at once; bounds memory."""


@dataclass(frozen=True)
class NoiseLevel:
    """Strengths of one level.

    Attributes
    ----------
    blur
        Å, standard deviation of the probe's Gaussian blur beyond the linear model's own probe.
    counts
        Electrons counted at the brightest pixel.
    jitter
        Pixels, standard deviation of the shift of a scan line.
    background
        Standard deviation of the low-frequency background over that of the crystal's contrast.
    read_out
        Standard deviation of the read-out noise over the range of the image.
    """

    blur: float
    counts: float
    jitter: float
    background: float
    read_out: float


LEVELS: Mapping[str, NoiseLevel] = {
    "low": NoiseLevel(blur=0.2, counts=200.0, jitter=0.2, background=0.1, read_out=0.01),
    "mid": NoiseLevel(blur=0.3, counts=40.0, jitter=0.4, background=0.3, read_out=0.03),
    "high": NoiseLevel(blur=0.4, counts=10.0, jitter=0.8, background=0.6, read_out=0.06),
}


def render(structure: Structure, level: str, seed: int) -> tuple[Micrograph, Float[np.ndarray, "2 2"]]:
    """Image a monolayer at one level of noise.

    Parameters
    ----------
    structure
        Slab.
    level
        Key of `LEVELS`.
    seed
        Of rotation, origin and noise. Rotation and origin are the same at every level.

    Returns
    -------
    tuple
        The micrograph, grey levels 0 to 1 with a pixel size in Å, and the map from slab (x, y) to image (x, y).
    """
    strength = LEVELS[level]
    view = np.random.default_rng([seed, 0])
    matrix = orthogonal_part(float(view.uniform(0, 360)), mirror=bool(view.random() < 0.5))
    origin = view.uniform(size=2) @ plane_cell(structure)
    noise = np.random.default_rng([seed, 1 + list(LEVELS).index(level)])

    points = raster(SHAPE, (PIXEL_SIZE, PIXEL_SIZE))
    points[..., 0] += strength.jitter * PIXEL_SIZE * noise.standard_normal(SHAPE[0])[:, None]
    image = _signal(structure, points @ np.linalg.inv(matrix).T + origin, strength.blur)
    image = (image - image.min()) / np.ptp(image)
    counted = noise.poisson(strength.counts * image) / strength.counts
    patches = gaussian_filter(noise.standard_normal(SHAPE), BACKGROUND_LENGTH, mode="wrap")
    counted += strength.background * image.std() * (patches - patches.mean()) / patches.std()
    counted += strength.read_out * noise.standard_normal(SHAPE)
    grey = ((counted - counted.min()) / np.ptp(counted)).astype(np.float32)
    micrograph = Micrograph(
        image=grey,
        pixel_size=(PIXEL_SIZE, PIXEL_SIZE),
        pixel_size_source="file",
        modality=OPTICS.modality,
        beam_energy=OPTICS.beam_energy,
        convergence_angle=OPTICS.convergence_angle,
        sha256=hashlib.sha256(grey.tobytes()).hexdigest(),
        source=f"simulated {structure.composition.reduced_formula}",
        metadata={
            "modality": str(OPTICS.modality),
            "beam_energy": OPTICS.beam_energy,
            "convergence_angle": OPTICS.convergence_angle,
        },
    )
    return micrograph, matrix


def _signal(structure: Structure, points: Float[np.ndarray, "H W 2"], blur: float) -> Float[np.ndarray, "H W"]:
    """Noise-free image at slab points, blurred by a Gaussian of ``blur`` Å."""
    cell = plane_cell(structure)
    indices = nodes(cell, OPTICS.cutoff, 0.0)
    g = indices @ np.linalg.inv(cell).T
    damping = np.exp(-2 * (np.pi * blur) ** 2 * (g**2).sum(axis=1))
    coefficients = structure_factors(structure, indices, OPTICS) * damping
    flat = points.reshape(-1, 2)
    parts = [
        2 * np.real(np.exp(2j * np.pi * flat[start : start + _BLOCK] @ g.T) @ coefficients)
        for start in range(0, len(flat), _BLOCK)
    ]
    return np.concatenate(parts).reshape(points.shape[:-1])
