r"""Is the crystal's cell larger than the hypothesis says? Superstructures, from weak reflections between the strong.

A charge-density wave, an order of vacancies or a Peierls distortion multiplies a cell and moves its sites by tenths of
an ångström: it adds reflections at fractions of the others, often each below the noise. For every superlattice of index
2 to 4 of a cell, each power :math:`p_k` at a node that the superlattice adds is compared with the mean power
:math:`b_k` of m points around it, as far as the field of view resolves; that forgives what leaks from strong
reflections and what a jittering scan smears. If there is nothing, both are exponential and :math:`p_k/b_k` follows
F(2, 2m); the probabilities of all nodes are joined by Fisher's method,

.. math:: X = -2 \sum_k \ln P(F > p_k / b_k) \sim \chi^2_{2K} .
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from pymatgen.core import Structure
from scipy import stats

from library.fingerprint import nodes
from library.records import Template
from microscopy.slab import plane_cell, slab
from reconstruction.alignment import align, alignments
from reconstruction.distortion import GUESS
from reconstruction.hypotheses import Proposal, log_posterior, register
from reconstruction.measurement import Measurement
from reconstruction.records import Candidate
from reconstruction.refinement import with_sites_refined

LARGEST = 4
"""Index of the superlattices that are tried: most charge-density waves and Peierls distortions have 2 to 4 cells."""

AROUND = 8
"""Points around a node that say what would be there without it."""

APART = 2.5
"""Their distance, in inverse lengths of the field of view: beyond the reflection's own width."""

HIGHEST = 1.2
"""1/Å up to which superstructure reflections are looked for; beyond, thermal motion leaves nothing."""

SIGNIFICANT = 4.0
"""−log₁₀ of the probability, all superlattices counted, from which a superstructure is believed."""

REGISTERED, REFINED = 30, 8
"""Supercells that are registered, and of how many the sites are refined."""

EQUAL = 0.01
"""Log posterior within which two supercells of one template are one seen twice."""

ROUNDS = 3
"""Refinements one after another: sites of a superstructure lie farther from the known ones than one lets them go."""

PRIOR = -3.0
"""Log prior of a superstructure of a known crystal: rare."""


@dataclass(frozen=True, eq=False)
class Superstructure:
    """The best supported superlattice of a cell.

    Attributes
    ----------
    matrix
        Rows: the superlattice's vectors in those of the cell.
    significance
        −log₁₀ of the probability that noise alone does as well on any of the superlattices tried; not negative.
    """

    matrix: Int[np.ndarray, "2 2"]
    significance: float


def superlattices(index: int) -> Iterator[Int[np.ndarray, "2 2"]]:
    """Every superlattice of an index once (row Hermite normal form)."""
    for p in range(1, index + 1):
        if index % p == 0:
            for r in range(index // p):
                yield np.array([[p, r], [0, index // p]])


def find_superstructure(measurement: Measurement, cell: Float[np.ndarray, "2 2"]) -> Superstructure | None:
    """The superlattice of a cell (rows a, b as they lie in the image, Å) that the image supports best.

    None when the field of view is too small to tell the reflections apart.
    """
    tried = [matrix for index in range(2, LARGEST + 1) for matrix in superlattices(index)]
    found: list[tuple[float, Int[np.ndarray, "2 2"]]] = []
    for matrix in tried:
        log_p = _log_p(measurement, matrix @ cell, np.linalg.inv(matrix))
        if log_p is not None:
            found.append((log_p, matrix))
    if not found:
        return None
    best, matrix = min(found, key=lambda each: each[0])
    return Superstructure(matrix, max(0.0, -(best + np.log(len(found))) / np.log(10)))


def _log_p(measurement: Measurement, large: np.ndarray, to_small: np.ndarray) -> float | None:
    """Natural log of the probability that noise does as well at the nodes of a cell that are not those of a smaller."""
    spectrum = measurement.spectrum
    indices = nodes(large, min(HIGHEST, measurement.q_max))
    orders = indices @ to_small.T
    indices = indices[np.abs(orders - np.round(orders)).max(axis=1) > 1e-6]
    distance = APART / spectrum.extent
    # Between a node and the next there must be room for the points that it is compared with.
    if not len(indices) or 2 * distance > 1 / np.linalg.norm(large, axis=1).max():
        return None
    g = indices @ np.linalg.inv(large).T
    angles = 2 * np.pi * np.arange(AROUND) / AROUND
    ring = g[:, None] + distance * np.column_stack([np.cos(angles), np.sin(angles)])
    power = np.abs(spectrum.coefficients(g)) ** 2
    background = (np.abs(spectrum.coefficients(ring.reshape(-1, 2))) ** 2).reshape(len(g), AROUND).mean(axis=1)
    joined = -2 * stats.f.logsf(power / background, 2, 2 * AROUND).sum()
    return float(stats.chi2.logsf(joined, 2 * len(g)))


def enlarged(structure: Structure, matrix: Int[np.ndarray, "2 2"]) -> Structure:
    """The same slab in a cell of which rows of ``matrix`` are the vectors, in those of its own."""
    whole = np.eye(3, dtype=int)
    whole[:2, :2] = matrix
    return slab(structure.make_supercell(whole, in_place=False))


def superstructures(
    known: Sequence[Candidate], smaller: Sequence[Template], measurement: Measurement, strain: float, sign_free: bool
) -> list[Candidate]:
    """Supercells of known crystals with their sites where the image has them, as candidates without probabilities.

    Parameters
    ----------
    known
        The leading hypotheses: their cells are enlarged as far as weak reflections ask for it.
    smaller
        Templates that do not fit the lattice of the image: supercells of theirs may.
    measurement
        The image's coefficients.
    strain
        Largest relative deformation between a supercell and the image's.
    sign_free
        Also try inverted contrast (modality unknown).
    """
    models: list[tuple[Template, Structure]] = []
    for candidate in known:
        larger = find_superstructure(measurement, candidate.cell)
        if larger is not None and larger.significance > SIGNIFICANT:
            models.append((_template(candidate), enlarged(candidate.structure, larger.matrix)))
    for template in smaller:
        own = plane_cell(template.structure)
        for matrix in _fitting(own, measurement.lattice.vectors, strain):
            models.append((template, enlarged(template.structure, matrix)))
    proposals = sorted(_aligned(models, measurement, strain, sign_free), key=lambda each: -each.alignments[0].gain)
    best = _best(register(proposals[:REGISTERED], measurement))
    for _ in range(ROUNDS):
        # What was fitted of the optics to a structure without its distortion has to be fitted again with it.
        moved = [with_sites_refined(each, measurement) for each in best]
        refined = [(_template(each), each.structure) for each in moved]
        best = _best(register(_aligned(refined, measurement, strain, sign_free, keep=1), measurement))
    return best


def _best(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The likeliest, those once that symmetry makes equal."""
    found: list[Candidate] = []
    for candidate in sorted(candidates, key=log_posterior, reverse=True):
        alike = found and log_posterior(found[-1]) - log_posterior(candidate) < EQUAL
        if len(found) < REFINED and not (alike and found[-1].template == candidate.template):
            found.append(candidate)
    return found


def _template(candidate: Candidate) -> Template:
    """What a candidate is, as a template that other structures are made of."""
    return Template(candidate.template, candidate.structure, "", candidate.source)


def _aligned(
    models: Sequence[tuple[Template, Structure]],
    measurement: Measurement,
    strain: float,
    sign_free: bool,
    keep: int = 3,
) -> list[Proposal]:
    """Proposals of the structures that fit the image's lattice, in their order."""
    found = ((template, made, align(made, measurement, strain, sign_free, keep)) for template, made in models)
    return [Proposal(template, made, "template", 0.0, fits, GUESS, PRIOR) for template, made, fits in found if fits]


def _fitting(own: np.ndarray, lattice: np.ndarray, strain: float) -> list[Int[np.ndarray, "2 2"]]:
    """Superlattices of a cell that are the lattice of the image itself."""
    size = abs(float(np.linalg.det(lattice)) / float(np.linalg.det(own)))
    index = round(size)
    if not 2 <= index <= LARGEST or abs(size / index - 1) > 2 * strain:
        return []
    return [matrix for matrix in superlattices(index) if len(alignments(matrix @ own, lattice, strain))]
