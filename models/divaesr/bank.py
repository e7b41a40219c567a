"""Crystals as arrays: all that making training images needs, in one file, without the packages that wrote it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

RANK = 4
"""Basis functions that the scattering factors of all elements are combined from: to 1 % and better below `Q_MAX`."""

Q_MAX = 3.0
"""1/Å, beyond any probe's cut-off."""


@dataclass(frozen=True, eq=False)
class CrystalBank:
    """Crystals and the scattering of their elements.

    Attributes
    ----------
    cells
        Rows a, b in Å, (M, 2, 2).
    counts
        Atoms per cell, (M,).
    fractions
        In-plane fractional coordinates, padded to the largest cell, (M, A, 2).
    numbers
        Atomic numbers, 0 where padded, (M, A).
    patterns
        Index into ``configuration.PATTERNS``, (M,).
    chances
        Probability of drawing each crystal, (M,).
    basis
        Phase scattering at q from 0 to `Q_MAX`, one row per basis function, (RANK, Q).
    amplitudes
        Of each basis function by atomic number, (Z, RANK): factor = amplitudes @ basis.
    transfer
        Of a quadrant detector by azimuth (0 to 45°) and q / cut-off (0 to 1), (10, 41).
    """

    cells: Float32[np.ndarray, "M 2 2"]
    counts: Int64[np.ndarray, " M"]
    fractions: Float32[np.ndarray, "M A 2"]
    numbers: Int64[np.ndarray, "M A"]
    patterns: Int64[np.ndarray, " M"]
    chances: Float32[np.ndarray, " M"]
    basis: Float32[np.ndarray, "R Q"]
    amplitudes: Float32[np.ndarray, "Z R"]
    transfer: Float32[np.ndarray, "T X"]

    def save(self, path: Path) -> None:
        """Write an ``.npz`` file."""
        np.savez_compressed(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> CrystalBank:
        """Read what `save` wrote; nothing is unpickled.

        Raises
        ------
        ValueError
            If the file holds anything else.
        """
        with np.load(path, allow_pickle=False) as stored:
            missing = {field.name for field in fields(cls)} - set(stored)
            if missing:
                raise ValueError(f"{path}: not a bank of crystals, {', '.join(sorted(missing))} missing")
            return cls(**{field.name: stored[field.name] for field in fields(cls)})
