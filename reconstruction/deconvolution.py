r"""Atomic columns from the coefficients of an image, without a model of the crystal.

A column is a peak of unknown place, strength and width. The coefficient at a node g of the projected lattice is

.. math:: c_g = t(g) \sum_j a_j\, e^{-g^{\mathsf T} B_j g}\, e^{-2\pi i g\cdot x_j}, \qquad
          t(g) = \bar f(q)\, T(g)\, e^{-Bq^2} \Bigl(1 + \sum_k \tau_k \cos\frac{k\pi q}{q_{max}}\Bigr),

with :math:`\bar f` the mean shape of the elements allowed. Columns are added where the residual, correlated with the
peak's shape (matched filter), gains most likelihood; after each round places, strengths, widths, B and τ are refined
together by Gauss-Newton, with priors on the last three. It ends when no peak that noise and the errors of the linear
model would not make is left. A tensor B_j takes up how an element's shape differs from the mean, and, where it is
not round, that atoms of the column stand beside one another nearer than the image resolves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float, Int

from library.fingerprint import nodes
from microscopy.linear import INCOHERENT_EXPONENT, scattering, transfer
from reconstruction.column_fit import ColumnFit
from reconstruction.measurement import Measurement, gather, weigh
from reconstruction.registration import MODEL_ERROR, ROTATIONS, transfer_basis

MAX_COLUMNS = 40
NODES_PER_COLUMN = 6
"""Columns of one cell: six parameters each need at least as many complex coefficients."""


@dataclass(frozen=True, eq=False)
class Deconvolution:
    """Columns of one cell, strongest first.

    Attributes
    ----------
    cell
        Rows a, b as (x, y) in Å of the image frame.
    indices, coefficients, weights
        Nodes of the cell, the measured coefficients there and their inverse variances; shape (K, 2), (K,), (K,).
    seen
        T(g) with its corrections τ and the damping exp(−Bq²), shape (K,): what the image does to a scattering power.
    shape
        Mean scattering shape of the elements, shape (K,).
    positions
        (x, y) in Å of the image frame, shape (J, 2).
    strengths, strength_errors
        In units of ``shape``, shape (J,).
    widths
        Symmetric tensors B_j in Å², shape (J, 2, 2).
    rotation
        Orientation of the detector as in ``registration.Registration``.
    sign
        Contrast: the image is ``sign`` times the model.
    chi2
        Weighted misfit per coefficient.
    """

    cell: Float[np.ndarray, "2 2"]
    indices: Int[np.ndarray, "K 2"]
    coefficients: Complex[np.ndarray, " K"]
    weights: Float[np.ndarray, " K"]
    seen: Float[np.ndarray, " K"]
    shape: Float[np.ndarray, " K"]
    positions: Float[np.ndarray, "J 2"]
    strengths: Float[np.ndarray, " J"]
    strength_errors: Float[np.ndarray, " J"]
    widths: Float[np.ndarray, "J 2 2"]
    rotation: float | None
    sign: float
    chi2: float

    @property
    def g(self) -> Float[np.ndarray, "K 2"]:
        """Nodes in 1/Å of the image frame."""
        return np.asarray(self.indices @ np.linalg.inv(self.cell).T)


def deconvolve(
    measurement: Measurement, elements: Sequence[int], matrix: Int[np.ndarray, "2 2"], sign: float = 1.0
) -> Deconvolution:
    """Find the columns of one cell of an image.

    Parameters
    ----------
    measurement
        The image's coefficients.
    elements
        Atomic numbers of the elements that may occur.
    matrix
        Rows of the cell in the vectors of the projected lattice.
    sign
        -1 for inverted contrast.
    """
    cell = matrix @ measurement.lattice.vectors
    indices = nodes(cell, measurement.q_max)
    g = indices @ np.linalg.inv(cell).T
    q = np.linalg.norm(g, axis=1)
    c = sign * gather(measurement, matrix, indices)
    weights = weigh(c, q, measurement, MODEL_ERROR)
    shape = mean_shape(elements, q, measurement)
    basis = transfer_basis(q, measurement.q_max)
    fit = ColumnFit(c, weights, g, basis, shape * transfer(g, measurement.optics))
    rotation = None
    limit = min(MAX_COLUMNS, max(2, len(q) // NODES_PER_COLUMN))
    before = -1
    # A round whose columns are all merged into those before it is the last.
    while before < len(fit.strengths):
        before = len(fit.strengths)
        if not fit.add(cell, indices, limit):
            break
        fit.refine()
        if before == 0 and measurement.optics.modality not in INCOHERENT_EXPONENT:
            # The first round holds the strong columns, which are enough to see how the detector is turned.
            turned = [
                ColumnFit(c, weights, g, basis, shape * transfer(g, measurement.optics, r), fit) for r in ROTATIONS
            ]
            for each in turned:
                each.refine()
            rotation, fit = min(zip(ROTATIONS, turned, strict=True), key=lambda pair: pair[1].misfit)
        if fit.merge(cell):
            fit.refine()
    order = np.argsort(-fit.strengths)
    seen = transfer(g, measurement.optics, rotation) * fit.damped
    return Deconvolution(
        cell=cell,
        indices=indices,
        coefficients=c,
        weights=weights,
        seen=seen,
        shape=shape,
        positions=fit.positions[order],
        strengths=fit.strengths[order],
        strength_errors=fit.strength_errors()[order],
        widths=fit.widths[order][:, [[0, 1], [1, 2]]],
        rotation=rotation,
        sign=sign,
        chi2=fit.misfit / len(q),
    )


def mean_shape(elements: Sequence[int], q: Float[np.ndarray, " K"], measurement: Measurement) -> np.ndarray:
    """Scattering of the elements averaged after each is scaled to one at the mean frequency, shape (K,)."""
    factors = scattering(np.array(elements), q, measurement.optics.modality)
    return np.asarray((factors / factors.mean(axis=1, keepdims=True)).mean(axis=0))
