r"""Which lattice a set of reflections belongs to, or which two.

1. A real-space vector v is a lattice vector when every reflection agrees: S(v) = Σ w cos(2π g·v) / Σ w = 1.
   The weights grow with the logarithm of the signal-to-noise ratio, so weak superstructure reflections count
   and one strong harmonic cannot impose a sub-multiple.
2. The two shortest independent vectors with S above a limit, then least squares over all indexed reflections.
3. Standard errors from the scatter of the reflections about the fit.
4. Two crystals side by side or one over the other agree on no short vector, at most on a long one where they nearly
   coincide. Then pairs of strong reflections are tried as the basis of one of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import ndimage

SHORTEST_AXIS = 1.2
"""Å, shortest: below every distance between atoms of one layer."""

AGREEMENT = 0.8
"""S(v) above which v is a candidate lattice vector: a few stray reflections are forgiven."""

LEVELS = (0.0, 1e-4, 1e-3, 1e-2, 0.05, 0.15)
"""Reflections weaker than this share of the strongest are left out, if with them no lattice explains ``ENOUGH``:
scan jitter and drift surround every strong reflection with weak satellites."""

ENOUGH = 0.95
SHARP = 0.03
"""Share of the reflections, and rms distance of their orders from integers, at which a lattice is taken at once."""

INDEXED = 0.1
"""A reflection belongs to a lattice when its orders are integers within this."""

MINORITY = 0.3
"""Share of the reflections that the first of two lattices must index."""

BOTH, CLEARLY = 0.9, 0.85
"""Share of the reflections that two lattices must index together, and how far behind one lattice must stay."""

BASES, LEAST_SINE, ATTEMPTS = 16, 0.3, 6
"""Strongest reflections whose pairs are tried as a basis, sine of the angle they must enclose, and cells tried."""

FEWEST, LARGER = 5, 4.0
"""Reflections that a second lattice must have, and by how much its cell may be larger than the first's: with larger
cells anything can be indexed."""


@dataclass(frozen=True, eq=False)
class Indexing:
    """A lattice, the share of the reflections (by weight) it indexes, and how far their orders are from integers."""

    vectors: np.ndarray
    errors: np.ndarray
    share: float
    misfit: float
    reflections: int

    @property
    def merit(self) -> float:
        """Share of the reflections, less for a loose fit."""
        return self.share * (1 - self.misfit / INDEXED)

    @property
    def area(self) -> float:
        """Of the cell, Å²."""
        return abs(float(np.linalg.det(self.vectors)))

    def explains(self, g: np.ndarray) -> np.ndarray:
        """Which reflections belong to this lattice."""
        order = g @ self.vectors.T
        return np.asarray(np.abs(order - np.round(order)).max(axis=1) < INDEXED)


def find_lattices(g: np.ndarray, snr: np.ndarray, longest: float) -> tuple[Indexing | None, Indexing | None]:
    """The lattice that explains the reflections best, and a second one, if there is, of those that it leaves."""
    best: Indexing | None = None
    for level in LEVELS:
        strong = snr >= level * snr.max()
        if level > 0 and strong.sum() < 3:
            break
        indexing = _index(g[strong], snr[strong], longest)
        if indexing is not None and (best is None or indexing.merit > best.merit):
            best = indexing
        if indexing is not None and indexing.share >= ENOUGH and indexing.misfit <= SHARP:
            return indexing, _second(g, snr, indexing, longest)
    for level in LEVELS:
        strong = snr >= level * snr.max()
        two = _two(g[strong], snr[strong], longest)
        if two is not None and (best is None or best.area > LARGER * two[0].area or best.merit < CLEARLY * BOTH):
            return two
    return best, None if best is None else _second(g, snr, best, longest)


def _two(g: np.ndarray, snr: np.ndarray, longest: float) -> tuple[Indexing, Indexing] | None:
    """Two lattices that together explain the reflections: those with the smallest cells, the stronger first."""
    strong = np.argsort(-snr)[:BASES]
    pairs = g[np.column_stack([strong[i] for i in np.triu_indices(len(strong), 1)])]
    sine = np.abs(np.linalg.det(pairs)) / np.linalg.norm(pairs, axis=2).prod(axis=1)
    vectors = np.linalg.inv(pairs[sine > LEAST_SINE]).transpose(0, 2, 1)
    order = np.einsum("kj,nij->nki", g, vectors)
    weights = np.log1p(snr)
    share = (np.abs(order - np.round(order)).max(axis=2) < INDEXED) @ weights / weights.sum()
    area = np.abs(np.linalg.det(vectors))
    tried: list[float] = []
    for n in np.lexsort([-share, area.round(0)]):
        if share[n] < MINORITY or any(abs(area[n] / each - 1) < 0.05 for each in tried):
            continue
        if len(tried) == ATTEMPTS:
            break
        tried.append(area[n])
        first = _settle(g, weights, gauss_reduce(vectors[n])[0])
        second = None if first is None else _second(g, snr, first, longest)
        if first is not None and second is not None:
            explained = first.explains(g) | second.explains(g)
            if weights[explained].sum() > BOTH * weights.sum():
                power = [snr[each.explains(g)].sum() for each in (first, second)]
                return (first, second) if power[0] >= power[1] else (second, first)
    return None


def _second(g: np.ndarray, snr: np.ndarray, first: Indexing, longest: float) -> Indexing | None:
    """A lattice of the reflections that the first leaves, unless it explains the first's too: a superstructure."""
    known = first.explains(g)
    if (~known).sum() < FEWEST:
        return None
    second = _index(g[~known], snr[~known], longest)
    if second is None or second.share < AGREEMENT or second.reflections < FEWEST or second.area > first.area * LARGER:
        return None
    return None if second.explains(g[known]).mean() > 0.5 else second


def _index(g: np.ndarray, snr: np.ndarray, longest: float) -> Indexing | None:
    """The smallest lattice on which a set of reflections agrees, by least squares."""
    weights = np.log1p(snr)
    vectors = _shortest_vectors(g, weights, longest)
    return None if vectors is None else _settle(g, weights, vectors)


def _settle(g: np.ndarray, weights: np.ndarray, vectors: np.ndarray) -> Indexing | None:
    """Least squares from approximate vectors."""
    for tolerance in (2 * INDEXED, INDEXED, INDEXED):
        fitted = _fit(g, weights, vectors, tolerance)
        if fitted is None:
            return None
        vectors, errors, indexed = fitted
        vectors, errors = gauss_reduce(vectors, errors)
    order = g[indexed] @ vectors.T
    misfit = float(np.sqrt(np.average(((order - np.round(order)) ** 2).max(axis=1), weights=weights[indexed])))
    return Indexing(vectors, errors, float(weights[indexed].sum() / weights.sum()), misfit, int(indexed.sum()))


def gauss_reduce(
    vectors: Float[np.ndarray, "2 2"], errors: Float[np.ndarray, "2 2"] | None = None
) -> tuple[Float[np.ndarray, "2 2"], Float[np.ndarray, "2 2"]]:
    """Shortest basis of a plane lattice, |a| ≤ |b|, angle between 60° and 120°, positive determinant; errors follow."""
    a, b = np.asarray(vectors, dtype=float)
    ea, eb = np.zeros((2, 2)) if errors is None else np.asarray(errors, dtype=float)
    for _ in range(1000):
        if a @ a > b @ b:
            a, b, ea, eb = b, a, eb, ea
        m = round(float(a @ b) / float(a @ a))
        if m == 0:
            break
        b, eb = b - m * a, np.hypot(eb, m * ea)
    if np.linalg.det([a, b]) < 0:
        b = -b
    return np.array([a, b]), np.array([ea, eb])


def _shortest_vectors(g: np.ndarray, weights: np.ndarray, longest: float) -> np.ndarray | None:
    """Two shortest independent vectors on which the reflections agree; None when there are none."""
    highest = float(np.linalg.norm(g, axis=1).max())
    step = min(0.15, 0.2 / highest)
    n = int(np.ceil(longest / step))
    axis = np.arange(-n, n + 1) * step
    half = axis[n:]
    phase_x = np.exp(2j * np.pi * np.outer(axis, g[:, 0]))
    phase_y = np.exp(2j * np.pi * np.outer(half, g[:, 1]))
    agreement = np.real((phase_y * (weights / weights.sum())) @ phase_x.T)
    peak = (ndimage.maximum_filter(agreement, size=3, mode="nearest") == agreement) & (agreement > AGREEMENT - 0.15)
    row, column = np.nonzero(peak)
    vectors = np.column_stack([axis[column], half[row]])
    length = np.linalg.norm(vectors, axis=1)
    keep = (length > SHORTEST_AXIS) & (length <= longest)
    vectors = vectors[keep]
    if len(vectors) < 2:
        return None
    vectors = _polish(vectors, g, weights)
    value = np.cos(2 * np.pi * vectors @ g.T) @ weights / weights.sum()
    # A maximum too weak to hold may have slid to the origin.
    vectors = vectors[(value > AGREEMENT) & (np.linalg.norm(vectors, axis=1) > SHORTEST_AXIS)]
    vectors = vectors[np.argsort(np.linalg.norm(vectors, axis=1))]
    for i, first in enumerate(vectors):
        for second in vectors[i + 1 :]:
            sine = abs(np.linalg.det([first, second])) / (np.linalg.norm(first) * np.linalg.norm(second))
            if sine > 0.2:
                return gauss_reduce(np.array([first, second]))[0]
    return None


def _polish(vectors: np.ndarray, g: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Least squares of g·v = integer from a grid maximum, reflections within a quarter of an order."""
    polished = []
    for v in vectors:
        fitted = v
        for _ in range(2):
            order = g @ fitted
            near = np.abs(order - np.round(order)) < 0.25
            if near.sum() < 2:
                break
            root = np.sqrt(weights[near])
            fitted = np.linalg.lstsq(g[near] * root[:, None], np.round(order[near]) * root, rcond=None)[0]
        polished.append(fitted)
    return np.array(polished)


def _fit(
    g: np.ndarray, weights: np.ndarray, vectors: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Least squares of all reflections that index within a tolerance: vectors, standard errors, which were used."""
    order = g @ vectors.T
    indices = np.round(order)
    indexed = (np.abs(order - indices).max(axis=1) < tolerance) & np.any(indices != 0, axis=1)
    if indexed.sum() < 2 or np.linalg.matrix_rank(indices[indexed]) < 2:
        return None
    h, w = indices[indexed], weights[indexed]
    normal = h.T @ (h * w[:, None])
    basis = np.linalg.solve(normal, h.T @ (g[indexed] * w[:, None]))
    residual = g[indexed] - h @ basis
    freedom = max(len(h) - 2, 1)
    variance = (residual**2 * w[:, None]).sum(axis=0) / freedom
    covariance = np.linalg.inv(normal)
    fitted = np.linalg.inv(basis).T
    # First-order propagation of the reciprocal basis B to R = B^-T: dR = -R dB^T R.
    errors = np.zeros((2, 2))
    for i in range(2):
        for j in range(2):
            total = 0.0
            for k in range(2):
                for m in range(2):
                    total += (fitted[i, m] * fitted[k, j]) ** 2 * covariance[k, k] * variance[m]
            errors[i, j] = np.sqrt(total)
    return fitted, errors, indexed
