r"""How a registered cell differs from its hypothesis: what is put down to the crystal, what to the scan.

A cell found in the image is the hypothesis's cell T, turned by an orthogonal U and deformed by a symmetric S,

.. math:: C = T\,U\,S , \qquad \log S = \varepsilon_\mathrm{crystal} + \varepsilon_\mathrm{scan} .

The image alone cannot split the two. What can: the crystal's deformation keeps the symmetry of the hypothesis and is
small, and a scan is either calibrated to a few parts in a thousand or off by several percent.
The likelier kind decides: "this cell was measured" gives way to "this scan is off" as the deformation grows or breaks a
symmetry. The evidence of both together is the prior of the hypothesis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from pymatgen.core import Structure

from microscopy.slab import plane_cell
from reconstruction.operations import layer_dataset

CALIBRATED_SIGMA = 0.003
"""The same for a scan that is calibrated."""

OFF_SIGMA = 0.06
"""The same for one that is not: pixel sizes in files are off by up to 10 %, scans are sheared by as much or more."""

OFF = 0.3
"""Prior probability that the scan is off."""

SYMMETRY_TOLERANCE = 0.05
"""Å at which the hypothesis's own symmetry is read: templates are relaxed, not exact."""


@dataclass(frozen=True)
class CellPrior:
    """How far a crystal's cell may lie from its hypothesis's.

    Attributes
    ----------
    sigma
        Standard deviation of each component of the deformation.
    symmetric
        Whether the deformation keeps the hypothesis's symmetry.
    """

    sigma: float
    symmetric: bool


TEMPLATE = CellPrior(0.007, symmetric=True)
"""A relaxed structure of the same material: functionals and temperature differ."""

GUESS = CellPrior(0.05, symmetric=False)
"""A structure of other elements, scaled by the sizes of atoms."""


@dataclass(frozen=True, eq=False)
class Distortion:
    """A registered cell, split.

    Attributes
    ----------
    crystal
        Rows a, b of the crystal's own cell as it lies in the image, (x, y) in Å, the scan's part taken out.
    scale, shear
        Size of the image's cell over the hypothesis's, and the relative difference of its principal stretches.
    off
        Posterior probability that the scan is not calibrated.
    log_prior
        Log density of the deformation over that of a known structure that matches perfectly.
    """

    crystal: Float[np.ndarray, "2 2"]
    scale: float
    shear: float
    off: float
    log_prior: float


def split(
    structure: Structure,
    cell: Float[np.ndarray, "2 2"],
    error: float = 0.0,
    prior: CellPrior = TEMPLATE,
) -> Distortion:
    """Split the deformation between a hypothesis and its cell in an image.

    Parameters
    ----------
    structure
        The hypothesis, a slab.
    cell
        Rows a, b of its cell in the image, (x, y) in Å; a mirror image is allowed.
    error
        Relative standard error of the measured cell.
    prior
        How far the crystal's cell may lie from the hypothesis's.
    """
    template = plane_cell(structure)
    left, stretches, right = np.linalg.svd(np.linalg.inv(template) @ cell)
    lying = template @ left @ right
    log_stretch = (right.T * np.log(stretches)) @ right
    size, deviator = _components(log_stretch)
    symmetric, known = _symmetric_part(structure, lying, deviator)
    kept, dimension = (symmetric, known) if prior.symmetric else (deviator, 2)
    broken = deviator - kept

    def evidence(scan: float) -> float:
        allowed, forbidden = np.hypot(prior.sigma, scan), np.hypot(error, scan)
        logs = -0.5 * ((size**2 + kept @ kept) / allowed**2 + broken @ broken / forbidden**2)
        return float(logs - (1 + dimension) * np.log(allowed) - (2 - dimension) * np.log(forbidden))

    scans = np.hypot([CALIBRATED_SIGMA, OFF_SIGMA], error)
    logs = np.array([evidence(scan) for scan in scans]) + np.log([1 - OFF, OFF])
    odds = np.exp(logs - np.logaddexp(*logs))
    # One of the two happened: a mean of both cells would be that of neither. A calibrated scan is believed as it is.
    share = 1.0 if odds[0] >= odds[1] else prior.sigma**2 / (prior.sigma**2 + scans[1] ** 2)
    # One measure for all: what may have any shape is the less likely to have this one.
    perfect = -(1 + known) * np.log(np.hypot(TEMPLATE.sigma, scans[0])) - (2 - known) * np.log(scans[0])
    return Distortion(
        crystal=lying @ _exponential(share * _matrix(size, kept)),
        scale=float(np.exp(size)),
        shear=float(stretches[0] / stretches[1] - 1),
        off=float(odds[1]),
        log_prior=float(np.logaddexp(*logs) - perfect),
    )


def deformation(first: Float[np.ndarray, "2 2"], second: Float[np.ndarray, "2 2"]) -> float:
    """Largest relative stretch, or compression, that turns one cell into another, rotations apart."""
    return float(np.abs(np.linalg.svd(np.linalg.inv(first) @ second, compute_uv=False) - 1).max())


def _components(matrix: Float[np.ndarray, "2 2"]) -> tuple[float, Float[np.ndarray, " 2"]]:
    """Isotropic part and deviator (stretch along x over y, stretch along the diagonal) of a symmetric matrix."""
    return float(np.trace(matrix)) / 2, np.array([(matrix[0, 0] - matrix[1, 1]) / 2, matrix[0, 1]])


def _matrix(size: float, deviator: Float[np.ndarray, " 2"]) -> Float[np.ndarray, "2 2"]:
    return np.array([[size + deviator[0], deviator[1]], [deviator[1], size - deviator[0]]])


def _exponential(matrix: Float[np.ndarray, "2 2"]) -> Float[np.ndarray, "2 2"]:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.exp(values)) @ vectors.T)


def _symmetric_part(
    structure: Structure, lying: Float[np.ndarray, "2 2"], deviator: Float[np.ndarray, " 2"]
) -> tuple[Float[np.ndarray, " 2"], int]:
    """Part of a deviator that the point group of the slab leaves alone, and in how many dimensions it may lie."""
    dataset = layer_dataset(structure, SYMMETRY_TOLERANCE)
    if dataset is None:
        return deviator, 2
    inverse = np.linalg.inv(lying)
    projector = np.zeros((2, 2))
    for rotation in np.asarray(dataset.rotations)[:, :2, :2]:
        # A fraction column R f lies at (R f)ᵀ·lying: as a map of the plane, lyingᵀ R lying⁻ᵀ.
        turn = lying.T @ rotation @ inverse.T
        projector += np.array([_components(turn.T @ _matrix(0.0, axis) @ turn)[1] for axis in np.eye(2)]).T
    projector /= len(dataset.rotations)
    return projector @ deviator, round(float(np.trace(projector)))
