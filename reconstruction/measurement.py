"""The coefficients of one image at the nodes of its lattice and of every superlattice, and what they weigh."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Complex, Float, Int

from library.fingerprint import Q_MAX, nodes
from microscopy.micrograph import Micrograph
from microscopy.optics import Optics
from reconstruction.records import ImageLattice
from reconstruction.spectrum import Spectrum, highest_frequency, spectrum

MODEL_FLOOR = 0.003
"""Error relative to the strongest coefficient (κ₀): reflections that the linear model forbids."""

MARGIN = 1.1
"""Frequencies up to this much beyond the highest used are measured: a template's cell may exceed the image's."""


@dataclass(eq=False)
class Measurement:
    """Coefficients of one image at the nodes of its lattice and of any superlattice, computed once each."""

    spectrum: Spectrum
    lattice: ImageLattice
    optics: Optics
    q_max: float
    _grids: dict[tuple[int, ...], np.ndarray] = field(default_factory=dict, repr=False)

    def grid(self, hermite: Int[np.ndarray, "2 2"]) -> Complex[np.ndarray, "M N"]:
        """Coefficients c[h + M//2, k + N//2] of the superlattice with this Hermite matrix."""
        key = tuple(int(v) for v in hermite.ravel())
        if key not in self._grids:
            cell = hermite @ self.lattice.vectors
            limit = self.limits(cell)
            indices = nodes(cell, MARGIN * self.q_max, 0.0)
            values = self.spectrum.coefficients(indices @ np.linalg.inv(cell).T)
            grid = np.zeros(2 * limit + 1, dtype=complex)
            grid[indices[:, 0] + limit[0], indices[:, 1] + limit[1]] = values
            grid[limit[0] - indices[:, 0], limit[1] - indices[:, 1]] = np.conj(values)
            self._grids[key] = grid
        return self._grids[key]

    def limits(self, cell: Float[np.ndarray, "2 2"]) -> Int[np.ndarray, " 2"]:
        """Largest |h|, |k| of a node the image can hold."""
        return np.asarray(np.ceil(MARGIN * self.q_max * np.linalg.norm(cell, axis=1)).astype(int))

    @cached_property
    def strongest(self) -> float:
        """Largest modulus among the projected lattice's own coefficients."""
        return float(np.abs(self.grid(np.eye(2, dtype=int))).max())


def measure(micrograph: Micrograph, lattice: ImageLattice) -> Measurement:
    """Prepare a micrograph with a pixel size for registration on its lattice."""
    optics, q_max = Optics.of(micrograph), highest_frequency(micrograph)
    return Measurement(spectrum(micrograph, q_max), lattice, optics, min(Q_MAX, 0.95 * q_max))


def supercell(cell: Float[np.ndarray, "2 2"], lattice: ImageLattice) -> Int[np.ndarray, "2 2"]:
    """Integer matrix of a registered cell in the projected lattice."""
    return np.round(cell @ np.linalg.inv(lattice.vectors)).astype(int)


def hermite(n: Int[np.ndarray, "2 2"]) -> Int[np.ndarray, "2 2"]:
    """Row Hermite normal form [[p, r], [0, q]] of an integer matrix: one matrix for all bases of a superlattice."""
    (a, b), (c, d) = n.tolist()
    while c:
        m = a // c
        a, b, c, d = c, d, a - m * c, b - m * d
    if a < 0:
        a, b = -a, -b
    d = abs(d)
    return np.array([[a, b % d], [0, d]])


def gather(
    measurement: Measurement, n: Int[np.ndarray, "*A 2 2"], indices: Int[np.ndarray, "K 2"]
) -> Complex[np.ndarray, "*A K"]:
    """Measured coefficients at the nodes of nR, from the grid of its superlattice, which all n given must share.

    Zero beyond the frequencies that the grid holds.
    """
    normal = hermite(n.reshape(-1, 2, 2)[0])
    grid = measurement.grid(normal)
    # n = U S  ⇒  node h of nR is node h U⁻ᵀ of SR.
    unimodular = np.round(n @ np.linalg.inv(normal))
    k = np.round(indices @ np.swapaxes(np.linalg.inv(unimodular), -1, -2)).astype(int)
    position = k + np.array(grid.shape) // 2
    inside = np.all((position >= 0) & (position < grid.shape), axis=-1)
    position = np.where(inside[..., None], position, 0)
    return np.where(inside, grid[position[..., 0], position[..., 1]], 0.0)


def correlation(gain: float, c: np.ndarray, weights: np.ndarray, noise: np.ndarray) -> float:
    """Weighted correlation, 0 to 1, of coefficients with a model that gains this log likelihood over noise."""
    available = float((weights * np.maximum(np.abs(c) ** 2 - noise, 0)).sum())
    return min(1.0, float(np.sqrt(max(gain, 0.0) / available))) if available > 0 else 0.0


def weigh(c: np.ndarray, q: np.ndarray, measurement: Measurement, model_error: float) -> np.ndarray:
    """Inverse variance of a coefficient at q (1/Å): its noise, and what the linear model gets wrong.

    Zero beyond the frequencies that the image holds.
    """
    variance = measurement.spectrum.noise(q) + (model_error * np.abs(c)) ** 2
    return np.where(q < MARGIN * measurement.q_max, 1 / (variance + (MODEL_FLOOR * measurement.strongest) ** 2), 0.0)
