"""Shot noise: the only noise a counting detector adds."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from microscopy.errors import SimulationError


def poisson_counts(
    fractions: Float[np.ndarray, " ..."], dose: float, pixel_area: float, rng: np.random.Generator
) -> Float[np.ndarray, " ..."]:
    """Draw the electrons that each detector segment counts in each pixel.

    Parameters
    ----------
    fractions
        Expected fraction of the beam per segment and pixel, any shape.
    dose
        Incident electrons per Å².
    pixel_area
        Å².
    rng
        Source of randomness.

    Returns
    -------
    ndarray
        Whole numbers as float64, same shape: mean and variance are ``fractions * dose * pixel_area``.

    Raises
    ------
    SimulationError
        When dose or area is not positive.
    """
    electrons = dose * pixel_area
    if not (np.isfinite(electrons) and electrons > 0):
        raise SimulationError(f"dose {dose} e/Å² on {pixel_area} Å² per pixel: both must be positive")
    # Interpolation may undershoot zero by its error where a dark-field signal vanishes.
    return np.asarray(rng.poisson(np.clip(fractions, 0.0, None) * electrons), dtype=np.float64)
