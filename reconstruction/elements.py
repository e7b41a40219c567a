r"""What an image says of a crystal's elements: which others would look the same.

Scattering grows smoothly with the atomic number, and an image has no absolute scale. In the refined model every element
is replaced by every other one, amplitude and damping are fitted anew, and what the replacement costs in log likelihood
is its log odds. The other elements are held: if all of them changed together the image could say still less. What it
costs to leave an element out tells whether the image shows it at all.
"""

from __future__ import annotations

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Complex, Float, Int

from microscopy.linear import scattering
from microscopy.micrograph import Modality
from reconstruction.hypotheses import TEMPERATURE, TOLD_APART
from reconstruction.records import ElementEvidence
from reconstruction.refinement import Refinement

HEAVIEST = 94
"""Plutonium: no monolayer is known of anything beyond."""


def element_evidence(
    refined: Refinement, numbers: Int[np.ndarray, " N"], modality: Modality
) -> tuple[ElementEvidence, ...]:
    """Replace each element of a refined model by each other one, and by nothing.

    Parameters
    ----------
    refined
        The model.
    numbers
        Atomic numbers of its sites.
    modality
        Of the image.

    Returns
    -------
    One entry for each element, by atomic number.
    """
    tried = np.arange(1, HEAVIEST + 1)
    power = scattering(tried, refined.q, modality)
    found = []
    for number in np.unique(numbers):
        own = refined.waves[numbers == number].sum(axis=0)
        rest = refined.coefficients - own
        gains = _gains(refined, np.vstack([rest, rest + own * power / power[number - 1]]))
        odds = (gains[number] - gains) / TEMPERATURE  # row 0: without it
        alike = tuple(chemical_symbols[z] for z in tried if z != number and odds[z] < TOLD_APART)
        found.append(ElementEvidence(chemical_symbols[number], alike, bool(rest.any() and odds[0] < TOLD_APART)))
    return tuple(found)


def _gains(refined: Refinement, models: Complex[np.ndarray, "M K"]) -> Float[np.ndarray, " M"]:
    """Log likelihood over noise of models, the amplitude and a small change of the damping of each fitted."""
    shapes = np.stack([np.ones_like(refined.q), -(refined.q**2)])
    normal = np.einsum("mk,ik,jk->mij", np.abs(models) ** 2 * refined.weights, shapes, shapes)
    right = np.real(models.conj() * refined.measured) * refined.weights @ shapes.T
    normal[:, [0, 1], [0, 1]] = normal[:, [0, 1], [0, 1]] * (1 + 1e-12) + np.finfo(float).tiny
    return np.asarray((right * np.linalg.solve(normal, right[:, :, None])[:, :, 0]).sum(axis=1))
