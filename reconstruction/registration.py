r"""Fitting an aligned hypothesis to an image: origin, amplitude, damping, detector and transfer function.

The gain in log likelihood over noise of coefficients c(h), given the structure factors F(h) and the origin u, is

.. math:: \Delta\log L = \sum_h w_h \left(|c_h|^2 - |c_h - s F_h e^{-2\pi i h\cdot u}|^2\right)

with the amplitude s at its optimum; see ``reconstruction.alignment`` for where u and the cell come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from pymatgen.core import Structure

from library.fingerprint import nodes
from microscopy.linear import INCOHERENT_EXPONENT, projected_scattering, transfer
from microscopy.optics import Optics
from microscopy.slab import plane_cell
from reconstruction.alignment import DAMPING, Alignment
from reconstruction.distortion import TEMPLATE, CellPrior, Distortion, deformation, split
from reconstruction.measurement import Measurement, correlation, gather, weigh

MODEL_ERROR = 0.015
"""Relative error of a coefficient of the linear model, detector fitted; it differs by 0.5 to 2 % from multislice."""

DAMPING_BELOW, DAMPING_ABOVE = 0.15, 1.5
"""How far the damping may lie below and above the most likely, Å²: thermal motion alone is the least there is, and an
effective source of 0.3 Å (B = 2π²σ²) adds 1.8."""

TRANSFER_TERMS = 3
TRANSFER_SIGMA = 0.1
"""Smooth corrections of the transfer function, cos(kπq/q_max), and the prior standard deviation of each: detectors
differ in their angles and in how their signals are combined, and files rarely say."""

DAMPINGS = np.concatenate([np.linspace(-0.2, 0.6, 33), np.geomspace(0.65, 12.0, 30)])

ROTATIONS: tuple[float | None, ...] = (None, *np.arange(0.0, 90.0, 7.5).tolist())
"""Orientations of a quadrant detector that are tried, degrees; None averages over them."""


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
    return Registration(
        cell=cell,
        distortion=distortion,
        shift=u @ cell,
        amplitude=alignment.sign * amplitude,
        damping=damping,
        rotation=rotation,
        transfer_terms=terms,
        log_likelihood=gain,
        correlation=correlation(gain, c, weights, noise),
        strain=deformation(plane_cell(structure), cell),
        index=int(abs(round(float(np.linalg.det(alignment.matrix))))),
    )


def corrected_transfer(
    g: Float[np.ndarray, "K 2"], optics: Optics, rotation: float | None, terms: Sequence[float], q_max: float
) -> Float[np.ndarray, " K"]:
    """Transfer at g (1/Å) of a detector turned by ``rotation`` degrees, with the corrections fitted up to q_max."""
    seen = transfer(g, optics, rotation)
    if not len(terms):
        return seen
    return np.asarray(seen * (1 + np.array(terms) @ transfer_basis(np.linalg.norm(g, axis=-1), q_max)))


def transfer_basis(q: Float[np.ndarray, " K"], q_max: float) -> Float[np.ndarray, "T K"]:
    """Shapes by which the transfer at q (1/Å) may differ from the one computed."""
    orders = np.arange(1, TRANSFER_TERMS + 1)
    return np.cos(np.pi * orders[:, None] * q[None, :] / q_max)


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
