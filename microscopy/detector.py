"""STEM detectors: which electrons they collect, and what the quadrants of a segmented one say about the phase."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from microscopy.micrograph import Modality
from microscopy.optics import Optics

SEGMENTED = frozenset({Modality.IDPC, Modality.PHASE, Modality.UNKNOWN})
"""Modalities that are recorded as four quadrants; the others have one annular detector."""
SUPERSAMPLING = 5
"""Points per axis and diffraction pixel when a detector's edge crosses it."""


def harmonics(count: int) -> np.ndarray:
    """Integer frequencies in FFT order."""
    return np.fft.fftfreq(count, 1 / count).round().astype(int)


def segment_masks(optics: Optics, extent: np.ndarray, gpts: tuple[int, int], angle: float) -> np.ndarray:
    """Share of each diffraction pixel that each segment covers, shape (S, product of gpts), FFT order, box frame.

    The quadrants are centred on the axes of a frame in which the box is turned by ``angle`` rad. Edges are antialiased, so that
    the signal does not depend on how the box happens to sample them.
    """
    inner, outer = (1e-3 * limit / optics.wavelength for limit in optics.angles)
    shifts = (np.arange(SUPERSAMPLING) + 0.5) / SUPERSAMPLING - 0.5
    axes = [(harmonics(n)[:, None] + shifts).ravel() / length for n, length in zip(gpts, extent, strict=True)]
    inside = [np.abs(axis) <= outer for axis in axes]
    kx, ky = np.meshgrid(*(axis[keep] for axis, keep in zip(axes, inside, strict=True)), indexing="ij")
    radius = np.hypot(kx, ky)
    ring = (radius >= inner) & (radius < outer)
    if optics.modality in SEGMENTED:
        # Points on a border between quadrants (in a square box, the diagonals) count half on either side.
        turns = [(np.arctan2(ky, kx) + angle + nudge) / (np.pi / 2) for nudge in (-1e-6, 1e-6)]
        hits = [ring * np.mean([np.round(turn).astype(int) % 4 == s for turn in turns], axis=0) for s in range(4)]
    else:
        hits = [ring]
    masks = []
    for hit in hits:
        full = np.zeros([n * SUPERSAMPLING for n in gpts], dtype=np.float32)
        full[np.ix_(*inside)] = hit
        blocks = full.reshape(gpts[0], SUPERSAMPLING, gpts[1], SUPERSAMPLING)
        masks.append(blocks.mean(axis=(1, 3)).ravel())
    return np.stack(masks)


def lever(optics: Optics) -> float:
    """Mean spatial frequency of the detector segments, 1/Å: what one electron more in a quadrant counts for."""
    return float(np.mean(optics.angles)) * 1e-3 / optics.wavelength


def phase_gradient(
    segments: Float[np.ndarray, "4 ..."], optics: Optics
) -> tuple[Float[np.ndarray, " ..."], Float[np.ndarray, " ..."]]:
    """Estimate ∇φ from the four quadrant signals.

    Parameters
    ----------
    segments
        Collected fraction of the beam in the quadrants centred on +x, +y, -x, -y of some frame, shape (4, ...).
    optics
        Its collection angles set the scale.

    Returns
    -------
    tuple
        (∂φ/∂x, ∂φ/∂y) in rad/Å, up to the transfer of the detector, in the same frame.
    """
    # An electron in a quadrant of opening 90° lies, on average, sin(45°)/45° of the radius along the quadrant's axis.
    scale = 2 * np.pi * lever(optics) * np.sin(np.pi / 4) / (np.pi / 4)
    return scale * (segments[0] - segments[2]), scale * (segments[1] - segments[3])
