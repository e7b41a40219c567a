r"""Registration of a template onto an image: rotation, mirror, supercell and origin at once, with phases.

Every integer matrix n whose cell nR has the template's metric within the allowed strain is an alignment: it
carries rotation, mirror and supercell together, because R is the lattice of the projection and may be finer
than the crystal's. For each one the origin u maximises the likelihood of the measured coefficients c(h)
given the template's structure factors F(h),

.. math:: \Delta\log L = \sum_h w_h \left(|c_h|^2 - |c_h - s F_h e^{-2\pi i h\cdot u}|^2\right)
          = \frac{(\Re \sum_h w_h c_h^* F_h e^{-2\pi i h\cdot u})^2}{\sum_h w_h |F_h|^2}

with the amplitude s > 0 already at its optimum. Noise-only nodes cancel, so hypotheses with different
supercells are compared on the same footing. The weights 1/w = σ²(q) + (κ|c|)² + (κ₀ max|c|)² add to the
measured noise what the linear image model gets wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.fft
from jaxtyping import Complex, Float, Int
from pymatgen.core import Structure

from library.fingerprint import Q_MAX, nodes
from microscopy.linear import INCOHERENT_EXPONENT, projected_scattering, structure_factors, transfer
from microscopy.micrograph import Micrograph
from microscopy.optics import Optics
from microscopy.slab import plane_cell
from reconstruction.distortion import TEMPLATE, CellPrior, Distortion, deformation, split
from reconstruction.records import ImageLattice
from reconstruction.spectrum import Spectrum, highest_frequency, spectrum

COARSE_ERROR = 0.06
"""Relative error of a coefficient of the linear model, detector orientation unknown (κ of the first pass)."""

MODEL_ERROR = 0.015
"""The same with the detector's orientation fitted; against multislice it is 0.5 to 2 %."""

MODEL_FLOOR = 0.003
"""Error relative to the strongest coefficient (κ₀): reflections that the linear model forbids."""

DAMPING = 0.15
DAMPING_BELOW, DAMPING_ABOVE = 0.15, 1.5
"""Most likely Gaussian damping exp(−B q²) in Å², and how far it may lie below and above: thermal motion alone is the
least there is, and an effective source of 0.3 Å (B = 2π²σ²) adds 1.8."""

TRANSFER_TERMS = 3
TRANSFER_SIGMA = 0.1
"""Smooth corrections of the transfer function, cos(kπq/q_max), and the prior standard deviation of each: detectors
differ in their angles and in how their signals are combined, and files rarely say."""

DAMPINGS = np.concatenate([np.linspace(-0.2, 0.6, 33), np.geomspace(0.65, 12.0, 30)])

MAX_INDEX = 64
"""Largest crystal cell, in cells of the projected lattice."""


MARGIN = 1.1
"""Frequencies up to this much beyond the highest used are measured: a template's cell may exceed the image's."""

EQUAL = 1e-3
"""Relative difference of likelihood below which two alignments of one template are one seen twice."""

ROTATIONS: tuple[float | None, ...] = (None, *np.arange(0.0, 90.0, 7.5).tolist())
"""Orientations of a quadrant detector that are tried, degrees; None averages over them."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """A template on the image before refinement: integer matrix n, fractional origin u, contrast sign, gain."""

    matrix: Int[np.ndarray, "2 2"]
    origin: Float[np.ndarray, " 2"]
    sign: float
    gain: float


@dataclass(frozen=True, eq=False)
class Registration:
    """A template on the image.

    ``cell`` rows (x, y) Å, ``shift`` (x, y) Å of its fractional origin; ``distortion`` splits its deformation between
    crystal and scan. The image is ``amplitude`` times the model damped by exp(−``damping`` q²), seen by a detector
    turned by ``rotation`` degrees whose transfer is corrected by 1 + Σ ``transfer_terms`` · ``transfer_basis``;
    ``index`` counts the cells of the projected lattice in the crystal's.
    """

    cell: Float[np.ndarray, "2 2"]
    distortion: Distortion
    shift: Float[np.ndarray, " 2"]
    amplitude: float
    damping: float
    rotation: float | None
    transfer_terms: Float[np.ndarray, " T"]
    log_likelihood: float
    correlation: float
    strain: float
    index: int


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


def alignments(
    template: Float[np.ndarray, "2 2"], lattice: Float[np.ndarray, "2 2"], strain: float
) -> Int[np.ndarray, "A 2 2"]:
    """All integer matrices n with n·lattice equal to the template cell up to rotation, mirror and strain.

    ``strain`` bounds the singular values of the deformation: |s − 1| ≤ strain.
    """
    lengths = np.linalg.norm(template, axis=1)
    longest = float(lengths.max()) * (1 + strain)
    reciprocal = np.linalg.inv(lattice)
    limit = np.floor(longest * np.linalg.norm(reciprocal, axis=0)).astype(int)
    i, j = np.mgrid[-limit[0] : limit[0] + 1, -limit[1] : limit[1] + 1]
    points = np.column_stack([i.ravel(), j.ravel()])
    norms = np.linalg.norm(points @ lattice, axis=1)
    first, second = (points[np.abs(norms / length - 1) <= strain + 1e-9] for length in lengths)
    if not len(first) or not len(second):
        return np.zeros((0, 2, 2), dtype=int)
    pairs = np.stack([np.repeat(first, len(second), axis=0), np.tile(second, (len(first), 1))], axis=1)
    index = np.abs(np.linalg.det(pairs)).round().astype(int)
    pairs = pairs[(index > 0) & (index <= MAX_INDEX)]
    deformation = np.linalg.inv(template) @ (pairs @ lattice)
    singular = np.linalg.svd(deformation, compute_uv=False)
    return pairs[np.abs(singular - 1).max(axis=1) <= strain] if len(pairs) else pairs


def align(
    structure: Structure, measurement: Measurement, strain: float, sign_free: bool = False, keep: int = 3
) -> list[Alignment]:
    """Best alignments of a slab with an image, best first; empty when its cell does not fit within the strain.

    Parameters
    ----------
    structure
        Slab.
    measurement
        The image's coefficients.
    strain
        Largest relative deformation of the slab's cell that is allowed.
    sign_free
        Also try inverted contrast (modality unknown).
    keep
        Number of alignments returned.
    """
    template = plane_cell(structure)
    matrices = alignments(template, measurement.lattice.vectors, strain)
    if not len(matrices):
        return []
    indices = nodes(template, measurement.q_max)
    q = np.linalg.norm(indices @ np.linalg.inv(template).T, axis=1)
    model = structure_factors(structure, indices, measurement.optics) * np.exp(-DAMPING * q**2)
    found = []
    for n in matrices:
        c = gather(measurement, n, indices)
        g = indices @ np.linalg.inv(n @ measurement.lattice.vectors).T
        weights = weigh(c, np.linalg.norm(g, axis=1), measurement, COARSE_ERROR)
        found.append(_origin(n, c, model, weights, indices, sign_free))
    return _distinct(sorted(found, key=lambda a: -a.gain), keep)


def refine(
    structure: Structure,
    alignment: Alignment,
    measurement: Measurement,
    rotations: Sequence[float | None] = ROTATIONS,
    cell_prior: CellPrior = TEMPLATE,
) -> Registration:
    """Fit origin, amplitude, damping and detector orientation of one alignment to the measured coefficients.

    ``rotations`` are the orientations tried; modalities without quadrants have none. ``cell_prior``: see `split`.
    """
    cell = alignment.matrix @ measurement.lattice.vectors
    distortion = split(structure, cell, measurement.lattice.relative_error, cell_prior)
    indices = nodes(cell, measurement.q_max)
    c = gather(measurement, alignment.matrix, indices)
    seen_at = np.linalg.norm(indices @ np.linalg.inv(cell).T, axis=1)
    noise = measurement.spectrum.noise(seen_at)
    weights = weigh(c, seen_at, measurement, MODEL_ERROR)
    # Optics and atoms act on the crystal's own frequencies; a distorted scan only misplaces them.
    g = indices @ np.linalg.inv(distortion.crystal).T
    q = np.linalg.norm(g, axis=1)
    scattered = alignment.sign * projected_scattering(
        structure, indices, measurement.optics.modality, distortion.crystal
    )
    quadrants = measurement.optics.modality not in INCOHERENT_EXPONENT
    fits = []
    for rotation in rotations if quadrants else (None,):
        model = scattered * transfer(g, measurement.optics, rotation)
        fits.append((_climb(c, model, weights, indices, q, alignment.origin), rotation))
    (gain, damping, amplitude, u), rotation = max(fits, key=lambda fit: fit[0][0])
    model = scattered * transfer(g, measurement.optics, rotation) * np.exp(-damping * q**2 - 2j * np.pi * indices @ u)
    terms = np.zeros(TRANSFER_TERMS)
    if gain > 0:
        amplitude, terms, more = _correct_transfer(c, model, weights, transfer_basis(q, measurement.q_max), amplitude)
        gain += more
    available = float((weights * np.maximum(np.abs(c) ** 2 - noise, 0)).sum())
    return Registration(
        cell=cell,
        distortion=distortion,
        shift=u @ cell,
        amplitude=alignment.sign * amplitude,
        damping=damping,
        rotation=rotation,
        transfer_terms=terms,
        log_likelihood=gain,
        correlation=min(1.0, float(np.sqrt(max(gain, 0.0) / available))) if available > 0 else 0.0,
        strain=deformation(plane_cell(structure), cell),
        index=int(abs(round(float(np.linalg.det(alignment.matrix))))),
    )


def transfer_basis(q: Float[np.ndarray, " K"], q_max: float) -> Float[np.ndarray, "T K"]:
    """Shapes by which the transfer at q (1/Å) may differ from the one computed."""
    orders = np.arange(1, TRANSFER_TERMS + 1)
    return np.cos(np.pi * orders[:, None] * q[None, :] / q_max)


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


def gather(measurement: Measurement, n: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Measured coefficients at the nodes of nR, taken from its superlattice's grid."""
    normal = hermite(n)
    grid = measurement.grid(normal)
    # n = U S  ⇒  node h of nR is node h U⁻ᵀ of SR.
    unimodular = np.round(n @ np.linalg.inv(normal)).astype(int)
    k = np.round(indices @ np.linalg.inv(unimodular).T).astype(int)
    centre = np.array(grid.shape) // 2
    position = k + centre
    inside = np.all((position >= 0) & (position < grid.shape), axis=1)
    values = np.zeros(len(indices), dtype=complex)
    values[inside] = grid[position[inside, 0], position[inside, 1]]
    return values


def weigh(c: np.ndarray, q: np.ndarray, measurement: Measurement, model_error: float) -> np.ndarray:
    """Inverse variance of a coefficient at q (1/Å): its noise, and what the linear model gets wrong.

    Zero beyond the frequencies that the image holds.
    """
    variance = measurement.spectrum.noise(q) + (model_error * np.abs(c)) ** 2
    return np.where(q < MARGIN * measurement.q_max, 1 / (variance + (MODEL_FLOOR * measurement.strongest) ** 2), 0.0)


def _distinct(found: list[Alignment], keep: int) -> list[Alignment]:
    """The first of each set of equally good alignments: symmetry makes up to a dozen of one."""
    kept: list[Alignment] = []
    for alignment in found:
        if len(kept) == keep:
            break
        if not kept or alignment.gain < (1 - EQUAL) * kept[-1].gain:
            kept.append(alignment)
    return kept


def _origin(
    n: np.ndarray, c: np.ndarray, model: np.ndarray, weights: np.ndarray, indices: np.ndarray, sign_free: bool
) -> Alignment:
    """Origin and contrast sign that maximise the likelihood, on a grid."""
    limit = np.abs(indices).max(axis=0)
    shape = tuple(scipy.fft.next_fast_len(int(4 * m + 2)) for m in limit)
    grid = np.zeros(shape, dtype=complex)
    grid[indices[:, 0] % shape[0], indices[:, 1] % shape[1]] = weights * np.conj(c) * model
    overlap = np.real(scipy.fft.fft2(grid))
    sign = 1.0
    if sign_free and -overlap.min() > overlap.max():
        overlap, sign = -overlap, -1.0
    at = np.unravel_index(int(np.argmax(overlap)), shape)
    power = float((weights * np.abs(model) ** 2).sum())
    gain = max(float(overlap[at]), 0.0) ** 2 / power if power > 0 else 0.0
    return Alignment(n, np.array([at[0] / shape[0], at[1] / shape[1]]), sign, gain)


def _correct_transfer(
    c: np.ndarray, model: np.ndarray, weights: np.ndarray, basis: np.ndarray, amplitude: float
) -> tuple[float, np.ndarray, float]:
    """Amplitude, relative corrections of the transfer, and what they add to the log likelihood, prior included."""
    shapes = np.vstack([np.ones(len(c)), basis])
    normal = (shapes * (weights * np.abs(model) ** 2)) @ shapes.T
    right = shapes @ (weights * np.real(np.conj(c) * model))
    precision = np.full(len(shapes), (TRANSFER_SIGMA * amplitude) ** -2)
    precision[0] = 0.0
    solution = np.linalg.solve(normal + np.diag(precision), right)
    return float(solution[0]), solution[1:] / solution[0], float(right @ solution - right[0] ** 2 / normal[0, 0])


def _climb(
    c: np.ndarray, model: np.ndarray, weights: np.ndarray, indices: np.ndarray, q: np.ndarray, u: np.ndarray
) -> tuple[float, float, float, np.ndarray]:
    """Damping and origin to convergence: (gain with the damping's prior, B, amplitude, u)."""
    decay = np.exp(-np.outer(DAMPINGS, q**2))
    power = (decay**2) @ (weights * np.abs(model) ** 2)
    deviation = np.where(DAMPINGS < DAMPING, DAMPING_BELOW, DAMPING_ABOVE)
    prior = 0.5 * ((DAMPINGS - DAMPING) / deviation) ** 2
    best = (-np.inf, DAMPING, 0.0, u)
    for _ in range(4):
        term = weights * np.conj(c) * model * np.exp(-2j * np.pi * indices @ u)
        top = decay @ np.real(term)
        gains = np.maximum(top, 0) ** 2 / power - prior
        at = int(np.argmax(gains))
        if gains[at] <= best[0] + 1e-6:
            break
        best = (float(gains[at]), float(DAMPINGS[at]), float(top[at] / power[at]), u % 1.0)
        term = term * decay[at]
        gradient = 2 * np.pi * (np.imag(term) @ indices)
        hessian = -((2 * np.pi) ** 2) * (indices.T * np.real(term)) @ indices
        if np.linalg.det(hessian) <= 0 or np.trace(hessian) >= 0:
            break
        u = u + np.clip(-np.linalg.solve(hessian, gradient), -0.02, 0.02)
    return best
