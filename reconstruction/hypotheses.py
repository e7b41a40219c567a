"""Hypotheses: a structure proposed for an image, registered on it, and what it is worth beside the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from pymatgen.core import Lattice, Structure

from library.fingerprint import REFERENCE_OPTICS, fingerprint
from library.records import Template
from microscopy.micrograph import Modality
from microscopy.slab import plane_cell
from reconstruction.alignment import Alignment
from reconstruction.distortion import TEMPLATE, CellPrior
from reconstruction.measurement import Measurement
from reconstruction.records import Candidate, Candidates
from reconstruction.registration import ROTATIONS, Registration, refine

TEMPERATURE = 8.0
"""Log likelihood is divided by this before it becomes a probability: model errors are shared by many reflections."""

TOLD_APART = 1.5
"""Log odds from which two hypotheses count as told apart."""

LEADING = 4
"""Hypotheses that decide the orientation of the detector."""

SAME_AREA = 0.05
SAME_PATTERN = 0.97
"""Area per atom and fingerprint within which two slabs of one composition are the same material: what relaxation
with another functional changes."""

SAME_LIKELIHOOD, SAME_HEIGHT = 2.0, 0.3
"""Log likelihood, and Å of height, within which two made models of one composition are one."""


@dataclass(frozen=True, eq=False)
class Proposal:
    """A structure worth registering.

    Attributes
    ----------
    template
        What it was made of, or is.
    structure
        Slab.
    origin
        ``"template"``, ``"substitution"`` or ``"free"``.
    score
        Cosine similarity of fingerprints.
    alignments
        On the image, best first; at least one.
    cell_prior
        See `reconstruction.distortion.split`.
    log_prior
        Of its chemistry.
    """

    template: Template
    structure: Structure
    origin: str
    score: float
    alignments: list[Alignment]
    cell_prior: CellPrior = TEMPLATE
    log_prior: float = 0.0


def register(proposals: Sequence[Proposal], measurement: Measurement) -> list[Candidate]:
    """Register proposals, those with the best alignments first, on an image: candidates without probabilities."""
    leading = [hypothesise(proposal, measurement) for proposal in proposals[:LEADING]]
    # One image has one detector: its orientation is what suits the likeliest hypotheses.
    rotation = max(leading, key=log_posterior).detector_rotation if leading else None
    return leading + [hypothesise(proposal, measurement, (rotation,)) for proposal in proposals[LEADING:]]


def hypothesise(
    proposal: Proposal, measurement: Measurement, rotations: Sequence[float | None] = ROTATIONS
) -> Candidate:
    """The best of a proposal's alignments, refined."""

    def merit(fit: Registration) -> float:
        return fit.log_likelihood / TEMPERATURE + fit.distortion.log_prior

    fits = [
        refine(proposal.structure, alignment, measurement, rotations, proposal.cell_prior)
        for alignment in proposal.alignments
    ]
    best = max(fits, key=merit)
    return Candidate(
        template=proposal.template.id,
        source=proposal.template.source,
        structure=proposal.structure,
        origin=proposal.origin,
        cell=best.cell,
        crystal=best.distortion.crystal,
        shift=best.shift,
        score=proposal.score,
        log_likelihood=best.log_likelihood,
        log_prior=best.distortion.log_prior + proposal.log_prior,
        correlation=best.correlation,
        strain=best.strain,
        scan_off=best.distortion.off,
        probability=0.0,
        amplitude=best.amplitude,
        damping=best.damping,
        detector_rotation=best.rotation,
        transfer_terms=tuple(float(term) for term in best.transfer_terms),
    )


def ranked(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Candidates, likeliest first and each structure once, with their posterior probabilities."""
    if not candidates:
        return ()
    ordered: list[Candidate] = []
    for candidate in sorted(candidates, key=log_posterior, reverse=True):
        if not any(_says_the_same(candidate, other) for other in ordered):
            ordered.append(candidate)
    logs = np.array([log_posterior(c) for c in ordered])
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    return tuple(replace(c, probability=float(w)) for c, w in zip(ordered, weights, strict=True))


def same_hypothesis(first: Candidate, second: Candidate) -> bool:
    """Whether two candidates are one, though each may have been read from its own file."""
    return (first.template, first.origin, first.log_likelihood, first.log_prior) == (
        second.template,
        second.origin,
        second.log_likelihood,
        second.log_prior,
    )


def lead(candidates: Candidates, candidate: Candidate) -> float:
    """Log odds of a candidate over the next different structure or, where another one leads, over that."""
    best = candidates.items[0]
    leads = same_hypothesis(best, candidate)
    return candidates.margin if leads else log_posterior(candidate) - log_posterior(best)


def lead_over_known(candidates: Candidates, candidate: Candidate) -> float:
    """Log odds that the image alone gives a made structure over the likeliest known one; infinite for a known one.

    Whether a material is new or a scan is off is not for a prior to settle.
    """
    known = [each.log_likelihood for each in candidates.items if each.origin == "template"]
    if candidate.origin == "template" or not known:
        return np.inf
    return (candidate.log_likelihood - max(known)) / TEMPERATURE


def _says_the_same(first: Candidate, second: Candidate) -> bool:
    """Whether two models that were made, not known, are one structure: alike to the image, and as high."""
    if "template" in (first.origin, second.origin) or first.structure.composition != second.structure.composition:
        return False
    alike = abs(first.log_likelihood - second.log_likelihood) < SAME_LIKELIHOOD
    heights = [from_middle(each.structure.cart_coords[:, 2], each.structure.atomic_numbers) for each in (first, second)]
    return alike and float(np.abs(heights[0] - heights[1]).max()) < SAME_HEIGHT


def from_middle(z: Float[np.ndarray, " N"], numbers: Sequence[int]) -> Float[np.ndarray, " N"]:
    """Distances from the middle plane, in the unit of z, by element and size: what like projections may differ in."""
    z = np.abs(z - (z.max() + z.min()) / 2)
    return np.asarray(z[np.lexsort((z, np.asarray(numbers)))])


def log_posterior(candidate: Candidate) -> float:
    """Log odds of a hypothesis over noise, up to a constant."""
    return candidate.log_likelihood / TEMPERATURE + candidate.log_prior


def margin(ranked: Sequence[Candidate]) -> float:
    """Log odds of the best over the next candidate that is another structure; infinite without one."""
    for other in ranked[1:]:
        if not looks_alike(ranked[0].structure, other.structure):
            return log_posterior(ranked[0]) - log_posterior(other)
    return np.inf


def looks_alike(first: Structure, second: Structure) -> bool:
    """Whether two slabs have one composition and one projection: the same material, whichever library it came from."""
    if first.composition.reduced_composition != second.composition.reduced_composition:
        return False
    areas = [abs(float(np.linalg.det(plane_cell(s)))) / s.num_sites for s in (first, second)]
    if abs(areas[0] / areas[1] - 1) > SAME_AREA:
        return False
    # The pattern is sensitive to scale, of which relaxation changes a little: compare at one area.
    resized = Structure(_scaled(second.lattice, np.sqrt(areas[0] / areas[1])), second.species, second.frac_coords)
    patterns = [fingerprint(s, REFERENCE_OPTICS[Modality.IDPC]) for s in (first, resized)]
    return float(patterns[0] @ patterns[1]) > SAME_PATTERN


def _scaled(lattice: Lattice, factor: float) -> Lattice:
    return Lattice(lattice.matrix * np.array([[factor], [factor], [1.0]]), pbc=lattice.pbc)
