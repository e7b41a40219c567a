"""Least squares of the peaks that are atomic columns; see ``deconvolution`` for the model."""

from __future__ import annotations

import numpy as np
import scipy.fft
from jaxtyping import Complex, Float, Int

from reconstruction.alignment import DAMPING
from reconstruction.registration import TRANSFER_SIGMA, TRANSFER_TERMS

GAIN = 25.0
"""Log likelihood that a new column has to add: six parameters, hundreds of places, errors that are not Gaussian."""

SHARE = 0.5
"""Peaks at least this share as significant as the strongest are added in the same round."""

RESOLVED = 0.5
"""Å, the period of the highest frequencies: nearer columns are one, with a width."""

WIDTH_PRIOR = 0.15
"""Å², prior standard deviation of the elements of B_j: shapes of elements differ by this much, and so does a column
of two atoms 0.35 Å apart."""

DAMPING_PRIOR = 0.5
"""Å², of the common damping B about `registration.DAMPING`."""

GRID_STEP = 0.12
"""Å, sampling of the residual map; Gauss-Newton converges from there."""

ITERATIONS = 6
"""Gauss-Newton steps after each round."""


class ColumnFit:
    """The columns so far and their refinement.

    Parameters
    ----------
    c, weights
        Measured coefficients and their inverse variances, shape (K,).
    g
        Nodes in 1/Å of the image frame, shape (K, 2).
    basis
        ``registration.transfer_basis`` there, shape (T, K).
    peak
        Coefficients of a column of strength one at the origin, undamped, shape (K,).
    start
        Columns to begin with; None begins without.
    """

    positions: Float[np.ndarray, "J 2"]
    strengths: Float[np.ndarray, " J"]
    widths: Float[np.ndarray, "J 3"]  # xx, xy, yy in Å²
    damping: float
    terms: Float[np.ndarray, " T"]

    def __init__(
        self,
        c: Complex[np.ndarray, " K"],
        weights: Float[np.ndarray, " K"],
        g: Float[np.ndarray, "K 2"],
        basis: Float[np.ndarray, "T K"],
        peak: Float[np.ndarray, " K"],
        start: ColumnFit | None = None,
    ) -> None:
        self.c, self.weights, self.g, self.basis, self.peak = c, weights, g, basis, peak
        self.squares = np.stack([g[:, 0] ** 2, 2 * g[:, 0] * g[:, 1], g[:, 1] ** 2])
        self.positions = np.zeros((0, 2)) if start is None else start.positions.copy()
        self.strengths = np.zeros(0) if start is None else start.strengths.copy()
        self.widths = np.zeros((0, 3)) if start is None else start.widths.copy()
        self.damping = DAMPING if start is None else start.damping
        self.terms = np.zeros(TRANSFER_TERMS) if start is None else start.terms.copy()

    @property
    def damped(self) -> np.ndarray:
        """Damping and corrections of the transfer, shape (K,)."""
        q2 = self.squares[0] + self.squares[2]
        return np.asarray(np.exp(-self.damping * q2) * (1 + self.terms @ self.basis))

    def waves(self) -> np.ndarray:
        """Coefficients of each column at unit strength, shape (J, K)."""
        phase = np.exp(-2j * np.pi * self.positions @ self.g.T - self.widths @ self.squares)
        return np.asarray(phase * self.peak * self.damped)

    @property
    def residual(self) -> np.ndarray:
        """What the columns leave of the coefficients, shape (K,)."""
        return np.asarray(self.c - self.strengths @ self.waves())

    @property
    def misfit(self) -> float:
        """Weighted sum of squares of the residual."""
        return float((self.weights * np.abs(self.residual) ** 2).sum())

    def add(self, cell: Float[np.ndarray, "2 2"], indices: Int[np.ndarray, "K 2"], limit: int) -> bool:
        """Add columns at the significant maxima of the residual; False when there are none."""
        peak = self.peak * self.damped
        lengths = np.linalg.norm(cell, axis=1)
        highest = np.abs(indices).max(axis=0)
        w, h = (
            scipy.fft.next_fast_len(int(max(n / GRID_STEP, 2 * m + 2))) for n, m in zip(lengths, highest, strict=True)
        )
        grid = np.zeros((w, h), dtype=complex)
        grid[indices[:, 0] % w, indices[:, 1] % h] = self.weights * self.residual * peak
        overlap = np.real(scipy.fft.ifft2(grid)) * w * h
        gain = np.maximum(overlap, 0.0) ** 2 / float((self.weights * peak**2).sum())
        for known in self.positions:
            gain[_distance(gain.shape, cell, known) < RESOLVED] = 0.0
        threshold = max(GAIN, SHARE * float(gain.max()))
        added = False
        while float(gain.max()) > threshold and len(self.strengths) < limit:
            at = np.array(np.unravel_index(int(np.argmax(gain)), gain.shape))
            place = (at / gain.shape) @ cell
            strength = float(overlap[tuple(at)]) / float((self.weights * peak**2).sum())
            self.positions = np.vstack([self.positions, place])
            self.strengths = np.append(self.strengths, strength)
            self.widths = np.vstack([self.widths, np.zeros(3)])
            # Side lobes of the peak reach a little more than a resolution element.
            gain[_distance(gain.shape, cell, place) < 2 * RESOLVED] = 0.0
            added = True
        return added

    def merge(self, cell: np.ndarray) -> bool:
        """Make one column of any two nearer than what is resolved; True when there were such."""
        merged = False
        order = np.argsort(-self.strengths)
        kept: list[int] = []
        for j in order:
            near = [k for k in kept if _separation(self.positions[j] - self.positions[k], cell) < RESOLVED]
            if near:
                self.strengths[near[0]] += self.strengths[j]
                merged = True
            else:
                kept.append(int(j))
        self.positions, self.strengths, self.widths = self.positions[kept], self.strengths[kept], self.widths[kept]
        return merged

    def refine(self) -> None:
        """Gauss-Newton on everything."""
        for _ in range(ITERATIONS):
            normal, right = self._normal()
            step = np.linalg.solve(normal + 1e-9 * np.diag(np.diag(normal)), right)
            count = len(self.strengths)
            self.positions = self.positions + np.clip(step[: 2 * count].reshape(-1, 2), -0.15, 0.15)
            floor = 0.02 * self.strengths.max()
            self.strengths = np.maximum(self.strengths + step[2 * count : 3 * count], floor)
            self.widths = self.widths + np.clip(step[3 * count : 6 * count].reshape(-1, 3), -0.1, 0.1)
            self.damping += float(np.clip(step[6 * count], -0.3, 0.3))
            self.terms = self.terms + np.clip(step[6 * count + 1 :], -0.1, 0.1)

    def strength_errors(self) -> np.ndarray:
        """Standard errors of the strengths from the normal matrix, shape (J,)."""
        count = len(self.strengths)
        if not count:
            return np.zeros(0)
        normal, _ = self._normal()
        return np.asarray(np.sqrt(np.diag(np.linalg.inv(normal))[2 * count : 3 * count]))

    def _normal(self) -> tuple[np.ndarray, np.ndarray]:
        waves = self.waves()
        scaled = self.strengths[:, None] * waves
        total = scaled.sum(axis=0)
        q2 = self.squares[0] + self.squares[2]
        jacobian = np.concatenate(
            [
                (-2j * np.pi * scaled[:, None, :] * self.g.T[None]).reshape(-1, len(q2)),
                waves,
                (-scaled[:, None, :] * self.squares[None]).reshape(-1, len(q2)),
                (-q2 * total)[None],
                self.basis * (total / (1 + self.terms @ self.basis)),
            ]
        )
        weighted = jacobian * self.weights
        normal = 2 * np.real(weighted @ jacobian.conj().T)
        right = 2 * np.real(weighted.conj() @ (self.c - total))
        count = len(self.strengths)
        value = np.concatenate([np.zeros(3 * count), self.widths.ravel(), [self.damping - DAMPING], self.terms])
        precision = np.concatenate(
            [
                np.zeros(3 * count),
                np.full(3 * count, WIDTH_PRIOR**-2),
                [DAMPING_PRIOR**-2],
                np.full(len(self.terms), TRANSFER_SIGMA**-2),
            ]
        )
        return normal + np.diag(precision), right - precision * value


def _distance(shape: tuple[int, ...], cell: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Å from each point of a grid of fractional coordinates to a place."""
    u, v = np.mgrid[0 : shape[0], 0 : shape[1]] / np.array(shape)[:, None, None]
    return _separation(np.stack([u, v], axis=-1) @ cell - place, cell)


def _separation(vectors: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Length in Å of vectors (..., 2), over the nearest images of a reduced cell."""
    delta = vectors @ np.linalg.inv(cell)
    delta = delta - np.round(delta)
    images = [np.linalg.norm((delta + np.array([i, j])) @ cell, axis=-1) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return np.asarray(np.min(images, axis=0))
