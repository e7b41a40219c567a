"""STEM detectors: which electrons they collect, and what the quadrants of a segmented one say about the phase."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from microscopy.micrograph import Modality
from microscopy.optics import Optics

SEGMENTED = frozenset({Modality.IDPC, Modality.PHASE, Modality.UNKNOWN})
"""Modalities that are recorded as four quadrants; the others have one annular detector."""
FINEST = 60.0
"""Å: a detector's edge is resolved to 1/60 1/Å, a third of a milliradian at 300 kV, whatever the size of the box."""


def harmonics(count: int) -> np.ndarray:
    """Integer frequencies in FFT order."""
    return np.fft.fftfreq(count, 1 / count).round().astype(int)


def segment_masks(optics: Optics, extent: np.ndarray, gpts: tuple[int, int], angle: float) -> np.ndarray:
    """Share of each diffraction pixel that each segment covers, shape (S, product of gpts), FFT order, box frame.

    The quadrants are centred on the axes of a frame in which the box is turned by ``angle`` rad. Edges are
    antialiased, so that the signal does not depend on how the box happens to sample them.
    """
    inner, outer = (1e-3 * limit / optics.wavelength for limit in optics.angles)
    fine = [max(1, int(np.ceil(FINEST / length))) for length in extent]
    axes = [
        (harmonics(n)[:, None] + (np.arange(f) + 0.5) / f - 0.5).ravel() / length
        for n, f, length in zip(gpts, fine, extent, strict=True)
    ]
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
        full = np.zeros([n * f for n, f in zip(gpts, fine, strict=True)], dtype=np.float32)
        full[np.ix_(*inside)] = hit
        blocks = full.reshape(gpts[0], fine[0], gpts[1], fine[1])
        masks.append(blocks.mean(axis=(1, 3)).ravel())
    return np.stack(masks)


def phase_gradient(
    segments: Float[np.ndarray, "4 ..."], optics: Optics
) -> tuple[Float[np.ndarray, " ..."], Float[np.ndarray, " ..."]]:
    """Estimate ∇φ from the four quadrant signals.

    A slowly varying phase shifts the bright disc by δ = ∇φ / 2π. What moves is its edge, which lies within the ring of
    the detector: a quadrant's signal changes by √2 δ / (π k), k = α / λ, and that of the opposite one by as much the
    other way (Lazić, Bosch & Lazar, Ultramicroscopy 160 (2016) 265). Details near the resolution limit are
    transferred less.

    Parameters
    ----------
    segments
        Collected fraction of the beam in the quadrants centred on +x, +y, -x, -y of some frame, shape (4, ...).
    optics
        Its aperture sets the scale.

    Returns
    -------
    tuple
        (∂φ/∂x, ∂φ/∂y) in rad/Å, in the same frame.
    """
    scale = 2 * np.pi * (np.pi / (2 * np.sqrt(2))) * 1e-3 * optics.convergence_angle / optics.wavelength
    return scale * (segments[0] - segments[2]), scale * (segments[1] - segments[3])
