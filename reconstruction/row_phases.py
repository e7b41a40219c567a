r"""The reflections of a lattice row by row, and the displacement of rows that sharpens them.

If row y is displaced by u(y), the phase of reflection g runs as −2π g·u(y) (geometric phase: Hÿtch, Snoeck and Kilaas,
Ultramicroscopy 74 (1998) 131). All reflections share one u: maximise

.. math:: \log L = \sum_g |C_g|^2 / \sigma_g^2, \qquad
          C_g = \sum_y e^{2\pi i\, g\cdot u(y)} \sum_x w(x, y)\,(I - \bar I)\, e^{-2\pi i\, g\cdot r} \Big/ \sum w

the likelihood of a crystal whose coefficients are unknown, in white noise around each reflection.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import windows

from library.fingerprint import nodes
from microscopy.micrograph import Micrograph
from reconstruction.records import ImageLattice
from reconstruction.spectrum import COEFFICIENT_TAPER, MAX_SIDE, pixel_size, spectrum

REFLECTIONS = 60
"""Strongest reflections that are used: weaker ones add nothing."""

VISIBLE = 12.0
"""Power over noise from which a node of the lattice counts as a reflection."""

STEPS, SHORTEST_STEP, CONVERGED = 30, 0.01, 0.01
"""Of the climb: most steps, shortest share of one, and the gain in log likelihood below which it is at the top."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The reflections g (1/Å, shape (K, 2)) of each row, shape (K, H), and the noise power of their sums, shape (K,).

    ``window`` is the share of each row in the sums, shape (H,).
    """

    g: np.ndarray
    values: np.ndarray
    noise: np.ndarray
    window: np.ndarray

    def _moments(self, basis: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sums C of the straightened rows, shape (K,), and of the rows times each polynomial, shape (K, P)."""
        straight = self.values * np.exp(2j * np.pi * self.g @ (basis @ theta).T)
        return straight.sum(axis=1), straight @ (basis - self.window @ basis)

    def _power(self, basis: np.ndarray, theta: np.ndarray) -> float:
        total = (self.values * np.exp(2j * np.pi * self.g @ (basis @ theta).T)).sum(axis=1)
        return float((np.abs(total) ** 2 / self.noise).sum())

    def _information(self, total: np.ndarray) -> np.ndarray:
        """What the reflections say of one displacement shared by all rows, if their phases were known; 1/Å²."""
        return np.asarray(8 * np.pi**2 * (self.g.T * (np.abs(total) ** 2 / self.noise)) @ self.g)

    def step(self, basis: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gauss-Newton step of the coefficients, shape (P, 2), and the inverse information, shape (2, 2)."""
        total, first = self._moments(basis, theta)
        slope = -4 * np.pi * np.imag(np.conj(total)[:, None] * first) / self.noise[:, None]
        inverse = np.linalg.inv(self._information(total))
        return np.linalg.solve(self._spread(basis, self.window), slope.T @ self.g @ inverse), inverse

    def climb(self, basis: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """Coefficients of the displacement, shape (P, 2), that sharpen the reflections most."""
        power = self._power(basis, theta)
        for _ in range(STEPS):
            step = self.step(basis, theta)[0]
            length = 1.0
            while (reached := self._power(basis, theta + length * step)) < power and length > SHORTEST_STEP:
                length /= 2
            if reached - power < CONVERGED:
                break
            theta, power = theta + length * step, reached
        return theta

    def covariance(self, basis: np.ndarray) -> np.ndarray:
        """Covariance of the coefficients of one axis in units of the inverse information, shape (P, P)."""
        inverse = np.linalg.inv(self._spread(basis, self.window))
        noise = self._spread(basis, self.window**2 / (self.window**2).sum())
        return np.asarray(inverse @ noise @ inverse)

    def _spread(self, basis: np.ndarray, weights: np.ndarray) -> np.ndarray:
        centred = basis - self.window @ basis
        return np.asarray((centred.T * weights) @ centred)

    def scatter(self, basis: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, float, float]:
        """How rows scatter about a drift: inverse information so widened, line jitter and its error in Å.

        ``basis`` goes beyond the orders of ``theta``; what is found there is not drift.
        """
        orders = len(theta)
        padded = np.vstack([theta, np.zeros((basis.shape[1] - orders, 2))])
        step, inverse = self.step(basis, padded)
        beyond, covariance = step[orders:], self.covariance(basis)[orders:, orders:]
        excess = np.diag(beyond.T @ np.linalg.solve(covariance, beyond)) / np.diag(inverse) / len(beyond)
        per_row = float(inverse[0, 0] / (self.window**2).sum())
        jitter = float(np.sqrt(max(excess[0] - 1, 0) * per_row))
        error = np.sqrt(2 / len(beyond)) * excess[0] * per_row
        widened = np.sqrt(np.maximum(excess, 1))
        return inverse * np.outer(widened, widened), jitter, float(error / (2 * max(jitter, np.sqrt(error))))


def demodulated(micrograph: Micrograph, lattice: ImageLattice, q_max: float, displacement: np.ndarray) -> Rows:
    """The visible reflections of a lattice, row by row; ``displacement`` tells which are visible once straightened."""
    size = pixel_size(micrograph)
    height, width = micrograph.image.shape
    first = max(0, (width - MAX_SIDE) // 2)
    image = micrograph.image[:, first : first + MAX_SIDE].astype(np.float64)
    window = np.outer(*(windows.tukey(n, COEFFICIENT_TAPER) for n in image.shape))
    if micrograph.mask is not None:
        window *= micrograph.mask[:, first : first + MAX_SIDE]
    window /= window.sum()
    image = (image - (image * window).sum()) * window
    indices = nodes(lattice.vectors, q_max, 0.0)
    g = indices @ np.linalg.inv(lattice.vectors).T
    view = spectrum(micrograph, q_max)
    noise = view.noise(np.linalg.norm(g, axis=1)) * view.image.size / image.size
    x, y = np.arange(image.shape[1]) * size[1], np.arange(height) * size[0]
    values = (image @ np.exp(-2j * np.pi * np.outer(x, g[:, 0]))).T * np.exp(-2j * np.pi * np.outer(g[:, 1], y))
    straight = values * np.exp(2j * np.pi * g @ displacement.T)
    ratio = np.abs(straight.sum(axis=1)) ** 2 / noise
    used = np.argsort(-ratio)[:REFLECTIONS]
    used = used[ratio[used] > VISIBLE]
    return Rows(g[used], values[used], noise[used], window.sum(axis=1))
