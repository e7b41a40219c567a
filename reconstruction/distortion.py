r"""How a registered cell differs from its hypothesis: what is put down to the crystal, what to the scan.

A cell found in the image is the hypothesis's cell T, turned by an orthogonal U and deformed by a symmetric S,

.. math:: C = T\,U\,S , \qquad \log S = \varepsilon_\mathrm{crystal} + \varepsilon_\mathrm{scan} .

The image alone cannot split the two. What can: the crystal's deformation keeps the symmetry of the hypothesis and is
small (density functionals, temperature, strain), and a scan is either calibrated to a few parts in a thousand or off by several percent.
The two kinds of scan are a mixture; its posterior mean moves from "this cell was measured" to "this scan is off" as the
deformation grows or breaks a symmetry, and its evidence is the prior of the hypothesis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from pymatgen.core import Structure

from microscopy.slab import plane_cell
from reconstruction.operations import layer_dataset

CRYSTAL_SIGMA = 0.007
"""Standard deviation of each component of a crystal's deformation from its template: functionals, temperature."""

CALIBRATED_SIGMA = 0.003
"""The same for a scan that is calibrated."""

OFF_SIGMA = 0.06
"""The same for one that is not: pixel sizes in files are off by up to 10 %, scans are sheared by as much or more."""

OFF = 0.3
"""Prior probability that the scan is off."""

SYMMETRY_TOLERANCE = 0.05
"""Å at which the hypothesis's own symmetry is read: templates are relaxed, not exact."""


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
        Log density of the deformation over that of a perfect match.
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
    crystal_sigma: float = CRYSTAL_SIGMA,
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
    crystal_sigma
        Standard deviation of a component of the crystal's own deformation; larger for a cell that is only guessed.
    """
    template = plane_cell(structure)
    left, stretches, right = np.linalg.svd(np.linalg.inv(template) @ cell)
    lying = template @ left @ right
    log_stretch = (right.T * np.log(stretches)) @ right
    size, deviator = _components(log_stretch)
    kept, dimension = _symmetric_part(structure, lying, deviator)
    broken = deviator - kept

    def evidence(scan: float) -> float:
        allowed, forbidden = np.hypot(crystal_sigma, scan), np.hypot(error, scan)
        logs = -0.5 * ((size**2 + kept @ kept) / allowed**2 + broken @ broken / forbidden**2)
        return float(logs - (1 + dimension) * np.log(allowed) - (2 - dimension) * np.log(forbidden))

    calibrated, off = np.hypot(CALIBRATED_SIGMA, error), np.hypot(OFF_SIGMA, error)
    logs = np.array([evidence(calibrated) + np.log1p(-OFF), evidence(off) + np.log(OFF)])
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    share = float(weights @ (crystal_sigma**2 / (crystal_sigma**2 + np.array([calibrated, off]) ** 2)))
    own = share * _matrix(size, kept)
    perfect = -(1 + dimension) * np.log(np.hypot(crystal_sigma, calibrated)) - (2 - dimension) * np.log(calibrated)
    return Distortion(
        crystal=lying @ _exponential(own),
        scale=float(np.exp(size)),
        shear=float(stretches[0] / stretches[1] - 1),
        off=float(weights[1]),
        log_prior=float(np.logaddexp(*logs) - perfect),
    )


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
