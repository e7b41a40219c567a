"""What goes wrong at a microscope, by name: small, physical, reproducible."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Float
from pymatgen.core.structure import Structure
from scipy.ndimage import gaussian_filter

from microscopy.detector import phase_gradient
from microscopy.errors import SimulationError
from microscopy.multislice import CellImage

ARTEFACTS: Mapping[str, str] = MappingProxyType(
    {
        "scan_shear": "shift of x per unit of y (0.1: a right angle appears as 84.3°)",
        "scan_scale": "relative stretch of the image along x, the fast axis",
        "calibration": "relative error of the pixel size that is written (0.05: 5 % too large)",
        "drift": "Å by which the specimen moves during the frame, settling, in a random direction",
        "line_jitter": "Å rms by which scan lines are displaced along x",
        "defocus": "Å of underfocus, added to that of the optics",
        "astigmatism": "Å of two-fold astigmatism, in a random direction",
        "source_size": "Å, standard deviation of a Gaussian source, added in quadrature to that of the optics",
        "tilt": "degrees by which the specimen is tilted about its y axis",
        "background": "rms of smooth contamination, relative to the rms contrast of the crystal",
        "quantise": "bits per pixel: the image is rounded to 2^bits levels between its extremes",
        "vacancies": "share of the atoms that are missing",
        "substitutions": "share of the atoms that are replaced by an element of their group, of the next period",
    }
)
"""Artefacts by name, and what the number given with each one means."""

CONTAMINATION_LENGTH = 8.0
"""Å, standard deviation of the smoothing of contamination: patches of one to two nanometres."""

LIMITS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "scan_shear": (-1.0, 1.0),
        "scan_scale": (-0.5, 0.5),
        "calibration": (-0.5, 0.5),
        "drift": (0.0, 100.0),
        "line_jitter": (0.0, 10.0),
        "defocus": (-1000.0, 1000.0),
        "astigmatism": (0.0, 1000.0),
        "source_size": (0.0, 10.0),
        "tilt": (-20.0, 20.0),
        "background": (0.0, 100.0),
        "quantise": (0.0, 16.0),
        "vacancies": (0.0, 0.5),
        "substitutions": (0.0, 0.5),
    }
)
"""Least and greatest strength: beyond, there is no micrograph left to speak of."""


def strengths(artefacts: Mapping[str, float]) -> dict[str, float]:
    """Strength of every artefact, zero unless asked for.

    Raises
    ------
    SimulationError
        For an unknown name, listing the choices, or a strength beyond its limits.
    """
    unknown = sorted(set(artefacts) - set(ARTEFACTS))
    if unknown:
        raise SimulationError(f"unknown artefact {', '.join(unknown)}; choose from {', '.join(ARTEFACTS)}")
    for name, value in artefacts.items():
        low, high = LIMITS[name]
        if not low <= value <= high:
            raise SimulationError(f"artefact {name}={value:g}: must lie between {low:g} and {high:g}")
        if name == "quantise" and value not in (0, *range(2, 17)):
            raise SimulationError(f"artefact quantise={value:g}: must be a whole number of bits, 2 to 16")
    return {name: float(artefacts.get(name, 0.0)) for name in ARTEFACTS}


def tilted(structure: Structure, degrees: float) -> tuple[Structure, Float[np.ndarray, "2 2"]]:
    """Tilt about y, seen along the beam: atoms shift with height, and the lattice shrinks along x by the cosine.

    Returns the sheared slab on the unshrunk lattice, and the shrinking as a matrix.
    """
    if degrees == 0:
        return structure, np.eye(2)
    angle = np.deg2rad(degrees)
    coords = structure.cart_coords.copy()
    coords[:, 0] += (coords[:, 2] - structure.lattice.c / 2) * np.tan(angle)
    tilted = Structure(structure.lattice, structure.species, coords, coords_are_cartesian=True)
    return tilted, np.diag([np.cos(angle), 1.0])


def contamination(
    cell: CellImage,
    strength: float,
    axes: Float[np.ndarray, "2 2"],
    shape: tuple[int, int],
    pixel_size: tuple[float, float],
    rng: np.random.Generator,
) -> Float[np.ndarray, "S H W"]:
    """Compute what smooth dirt adds to each segment's fraction: phase to quadrants, scattering to rings.

    Parameters
    ----------
    cell
        The clean crystal, whose rms contrast is the unit of ``strength``.
    strength
        See ``ARTEFACTS``.
    axes
        Orthogonal; its columns are the directions of the first two quadrants in the image.
    shape, pixel_size
        (H, W), and (y, x) in Å.
    rng
        Source of the dirt.
    """
    sigma = [CONTAMINATION_LENGTH / p for p in pixel_size]
    white = rng.standard_normal(shape)
    patches = gaussian_filter(white, sigma, mode="wrap")
    patches = (patches - patches.mean()) / max(float(patches.std()), np.finfo(float).tiny)
    if not cell.segmented:
        # Dirt scatters: it brightens a dark field and darkens a bright field.
        bright_field = cell.optics.angles[0] < cell.optics.convergence_angle
        added = strength * cell.fractions.std() * (patches - patches.min())
        return np.asarray(-added if bright_field else added)[None]
    phase = strength * _phase_contrast(cell) * patches
    gradient = np.stack(np.gradient(phase, *pixel_size)[::-1])
    gradient = np.einsum("ji,jhw->ihw", axes, gradient)
    unit = phase_gradient(np.array([0.5, 0.0, -0.5, 0.0]), cell.optics)[0]
    return np.concatenate([gradient, -gradient]) / (2 * unit)


def _phase_contrast(cell: CellImage) -> float:
    """Root mean square of the integrated image of a perfect crystal."""
    gradient = np.stack(phase_gradient(cell.fractions, cell.optics), axis=-1)
    spectrum = np.fft.fft2(gradient, axes=(0, 1)) / gradient[..., 0].size
    q = cell.frequencies
    norm = np.sum(q**2, axis=-1)
    norm[0, 0] = np.inf
    phase = np.sum(spectrum * q, axis=-1) / (2 * np.pi * norm)
    return float(np.sqrt(np.sum(np.abs(phase) ** 2)))


def quantised(image: Float[np.ndarray, "H W"], bits: float) -> Float[np.ndarray, "H W"]:
    """Grey levels 0 to 2^bits - 1 between the extremes of the image."""
    low, high = float(image.min()), float(image.max())
    return np.round((image - low) / max(high - low, np.finfo(float).tiny) * (2 ** int(bits) - 1))
