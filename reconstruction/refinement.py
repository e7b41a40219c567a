r"""Atomic positions in the plane, by weighted least squares on the Fourier coefficients of the image.

The model of a coefficient is :math:`m_h = s\,T_h\,e^{-Bq^2} \sum_j f_j(q) e^{-2\pi i h\cdot(x_j + u)}`. Amplitude s,
damping B, the common origin u and a displacement of every site are fitted by Gauss-Newton. Displacements carry a
Gaussian prior about the hypothesis, which decides where the image cannot: between atoms stacked in projection.
The inverse of the normal matrix is the covariance of the result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Complex, Float, Int
from pymatgen.core import Structure

from library.fingerprint import nodes
from microscopy.linear import scattering
from reconstruction.distortion import SYMMETRY_TOLERANCE
from reconstruction.hypotheses import TEMPERATURE, log_posterior
from reconstruction.measurement import Measurement, correlation, gather, supercell, weigh
from reconstruction.operations import symmetric_moves
from reconstruction.records import Candidate
from reconstruction.registration import MODEL_ERROR, corrected_transfer

POSITION_PRIOR = 0.08
"""Å, standard deviation of a site about its place in the hypothesis: what relaxation with another functional moves."""

SITE_PRIOR = 0.15
"""The same about its place in a structure of other elements."""

ITERATIONS = 8
CONVERGED = 1e-4
"""Å, largest move of the last iteration."""


@dataclass(frozen=True, eq=False)
class Refinement:
    """Refined in-plane positions.

    Attributes
    ----------
    frac
        In-plane fractional coordinates of each site, the common origin removed, shape (N, 2).
    errors
        Standard error of one in-plane component of each site, Å, shape (N,).
    cell
        Rows a, b as (x, y) in Å.
    shift
        Position of the fractional origin in the image, (x, y) in Å.
    indices, waves
        Nodes, and what each site adds to the model's coefficients there, relative to the image's origin.
    chi2
        Weighted misfit per coefficient; about one when the model explains the image.
    log_likelihood
        Of the coefficients over pure noise, less what the prior charges for the moves.
    freedom
        Log of the prior's volume of the sites over the posterior's: what a model has to pay for sites that may move
        (MacKay, Neural Computation 4 (1992) 415).
    correlation
        Weighted correlation of measured and modelled coefficients, 0 to 1.
    q, measured, weights
        Spatial frequencies of the nodes in the crystal, 1/Å; what the image has there, and its inverse variances.
    """

    frac: Float[np.ndarray, "N 2"]
    errors: Float[np.ndarray, " N"]
    cell: Float[np.ndarray, "2 2"]
    shift: Float[np.ndarray, " 2"]
    indices: Int[np.ndarray, "K 2"]
    waves: Complex[np.ndarray, "N K"]
    chi2: float
    log_likelihood: float
    freedom: float
    correlation: float
    q: Float[np.ndarray, " K"]
    measured: Complex[np.ndarray, " K"]
    weights: Float[np.ndarray, " K"]

    @property
    def coefficients(self) -> Complex[np.ndarray, " K"]:
        """Of the model at the nodes."""
        return np.asarray(self.waves.sum(axis=0))


def refine_positions(
    candidate: Candidate,
    measurement: Measurement,
    prior: float = POSITION_PRIOR,
    moves: Float[np.ndarray, "M D"] | None = None,
) -> Refinement:
    """Refine the sites of a registered hypothesis.

    Parameters
    ----------
    candidate
        The hypothesis, registered on the lattice of ``measurement``.
    measurement
        The image's coefficients.
    prior
        Å, standard deviation of a site about the hypothesis.
    moves
        The only ones that the sites may make, as columns of fractional coordinates (u₁, v₁, u₂, …); any when None.
    """
    cell = candidate.cell
    inverse = np.linalg.inv(cell)
    indices = nodes(cell, measurement.q_max)
    g = indices @ inverse.T
    c = gather(measurement, supercell(cell, measurement.lattice), indices)
    root = np.sqrt(weigh(c, np.linalg.norm(g, axis=1), measurement, MODEL_ERROR))
    own = indices @ np.linalg.inv(candidate.crystal).T
    q = np.linalg.norm(own, axis=1)
    numbers = np.array(candidate.structure.atomic_numbers)
    elements, which = np.unique(numbers, return_inverse=True)
    seen = corrected_transfer(
        own, measurement.optics, candidate.detector_rotation, candidate.transfer_terms, measurement.q_max
    )
    factors = scattering(elements, q, measurement.optics.modality)[which] * seen

    start = candidate.structure.frac_coords[:, :2]
    moved = np.zeros((len(start), 2))  # Å, image frame
    origin = candidate.shift.astype(float)
    amplitude, damping = candidate.amplitude, candidate.damping
    sites = len(start)
    free = np.eye(2 * sites) if moves is None else np.linalg.qr(np.kron(np.eye(sites), cell.T) @ moves)[0]
    count = free.shape[1]
    for _ in range(ITERATIONS):
        waves = _waves(factors, indices, g, start, moved, origin) * np.exp(-damping * q**2)
        shape = waves.sum(axis=0)
        residual = c - amplitude * shape
        by_site = -2j * np.pi * amplitude * waves[:, None, :] * g.T[None, :, :]  # (N, 2, K)
        jacobian = np.concatenate(
            [
                free.T @ by_site.reshape(-1, len(q)),
                by_site.sum(axis=0),
                shape[None, :],
                (-(q**2) * amplitude * shape)[None, :],
            ]
        )
        weighted = jacobian * root
        normal = np.real(weighted @ weighted.conj().T) * 2
        right = np.real(weighted.conj() @ (residual * root)) * 2
        normal[np.arange(count), np.arange(count)] += prior**-2
        right[:count] -= free.T @ moved.ravel() * prior**-2
        # Damping is kept near the registration's by its own prior; amplitude and origin are free.
        normal[-1, -1] += 0.3**-2
        step = np.linalg.solve(normal + 1e-12 * np.diag(np.diag(normal)), right)
        limited = (free @ np.clip(step[:count], -0.1, 0.1)).reshape(-1, 2)
        moved = moved + limited
        origin = origin + np.clip(step[count : count + 2], -0.1, 0.1)
        amplitude, damping = amplitude + float(step[-2]), float(np.clip(damping + step[-1], -0.3, 15.0))
        if np.abs(limited).max() < CONVERGED:
            break
    # A common move of all sites is the origin's business: take it out of the moves and of their covariance.
    common = moved.mean(axis=0)
    relative = np.kron(np.eye(sites) - 1 / sites, np.eye(2))
    covariance = relative @ free @ np.linalg.inv(normal)[:count, :count] @ free.T @ relative
    variances = np.diag(covariance).reshape(-1, 2).mean(axis=1)
    # The same with the likelihood as flat as hypotheses are compared at, over that with the sites held.
    flat = normal / TEMPERATURE + np.diag(np.append(np.full(count, (1 - 1 / TEMPERATURE) * prior**-2), np.zeros(4)))
    freedom = np.linalg.slogdet(flat)[1] - np.linalg.slogdet(flat[count:, count:])[1] + 2 * count * np.log(prior)
    waves = amplitude * _waves(factors, indices, g, start, moved, origin) * np.exp(-damping * q**2)
    model, weights = waves.sum(axis=0), root**2
    gain = float((weights * (np.abs(c) ** 2 - np.abs(c - model) ** 2)).sum())
    noise = measurement.spectrum.noise(np.linalg.norm(g, axis=1))
    return Refinement(
        frac=start + (moved - common) @ inverse,
        errors=np.sqrt(np.maximum(variances, 0.0)),
        cell=cell,
        shift=origin + common,
        indices=indices,
        waves=waves,
        chi2=float((np.abs(c - model) ** 2 * weights).mean()),
        log_likelihood=gain - 0.5 * float((moved**2).sum()) / prior**2,
        freedom=0.5 * float(freedom),
        correlation=correlation(gain, c, weights, noise),
        q=q,
        measured=c,
        weights=weights,
    )


def with_sites_refined(
    candidate: Candidate, measurement: Measurement, moves: Float[np.ndarray, "M D"] | None = None
) -> Candidate:
    """A hypothesis with its sites where the image has them, what their freedom costs taken off its prior."""
    refined = refine_positions(candidate, measurement, SITE_PRIOR, moves)
    slab = candidate.structure
    frac = np.column_stack([refined.frac, slab.frac_coords[:, 2]])
    return replace(
        candidate,
        structure=Structure(slab.lattice, slab.species, frac),
        shift=refined.shift,
        log_likelihood=max(candidate.log_likelihood, refined.log_likelihood),
        log_prior=candidate.log_prior - refined.freedom,
        correlation=max(candidate.correlation, refined.correlation),
    )


def with_sites_freed(candidate: Candidate, measurement: Measurement) -> Candidate:
    """A hypothesis that was made, not known, with its sites as free as that makes it likelier.

    They stay, move as their symmetry lets them, or move as they like.
    """
    moves = symmetric_moves(candidate.structure, SYMMETRY_TOLERANCE)
    tried = [candidate, with_sites_refined(candidate, measurement)]
    if moves is not None and 0 < moves.shape[1] < moves.shape[0]:
        tried.append(with_sites_refined(candidate, measurement, moves))
    return max(tried, key=log_posterior)


def _waves(
    factors: np.ndarray, indices: np.ndarray, g: np.ndarray, start: np.ndarray, moved: np.ndarray, origin: np.ndarray
) -> np.ndarray:
    """Contribution of each site to each coefficient, shape (N, K), per unit amplitude and undamped."""
    phase = start @ indices.T + (moved + origin) @ g.T
    return np.asarray(factors * np.exp(-2j * np.pi * phase))
