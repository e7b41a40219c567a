"""From an image to ranked hypotheses: fingerprints propose, registration with phases disposes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Int
from pymatgen.core import Lattice, Structure

from library.fingerprint import REFERENCE_OPTICS, fingerprint, nodes, powder_pattern
from library.records import Template
from library.store import Library
from microscopy.linear import transfer
from microscopy.micrograph import Micrograph, Modality
from microscopy.optics import Optics
from microscopy.slab import plane_cell
from reconstruction.lattice import find_lattice
from reconstruction.records import Candidate, Candidates
from reconstruction.registration import (
    ROTATIONS,
    Alignment,
    Measurement,
    Registration,
    align,
    highest_frequency,
    measure,
    refine,
)

TEMPERATURE = 8.0
"""Log likelihood is divided by this before it becomes a probability: model errors are shared by many reflections."""

LEADING = 4
"""Hypotheses that decide the orientation of the detector."""

SAME_AREA = 0.05
SAME_PATTERN = 0.97
"""Area per atom and fingerprint within which two slabs of one composition are the same material: what relaxation
with another functional changes."""


@dataclass(frozen=True)
class RetrievalOptions:
    """How widely to search.

    Attributes
    ----------
    shortlist
        Templates that the fingerprint passes on to registration.
    refine
        Templates whose registration is refined.
    strain
        Largest relative deformation between a template's cell and the image's.
    keep
        Candidates returned.
    use_elements
        Whether the elements or formula that the user gave restrict the search.
    exclude
        Template ids or formulas left out.
    """

    shortlist: int = 300
    refine: int = 40
    strain: float = 0.04
    keep: int = 10
    use_elements: bool = True
    exclude: tuple[str, ...] = ()


def retrieve(micrograph: Micrograph, library: Library, options: RetrievalOptions = RetrievalOptions()) -> Candidates:
    """Rank the templates of a library by how well they explain a micrograph.

    Returns
    -------
    Candidates, best first; without items when the image has no lattice or no template fits it.

    Raises
    ------
    ReconstructionError
        If the micrograph has no pixel size.
    """
    lattice = find_lattice(micrograph, highest_frequency(micrograph))
    rows = library.rows(
        elements=micrograph.elements if options.use_elements else None,
        formula=micrograph.formula if options.use_elements else None,
        exclude=options.exclude,
    )
    if lattice is None or not len(rows):
        return Candidates((), lattice, 0.0, len(rows))
    measurement = measure(micrograph, lattice)
    query = image_fingerprint(measurement)
    shortlist, scores = library.search(query, micrograph.modality, options.shortlist, rows)
    sign_free = micrograph.modality is Modality.UNKNOWN
    aligned = []
    for row, score in zip(shortlist, scores, strict=True):
        template = library.template(int(row))
        found = align(template.structure, measurement, options.strain, sign_free)
        if found:
            aligned.append((found[0].gain, template, float(score), found))
    aligned.sort(key=lambda entry: -entry[0])
    # One image has one detector: its orientation is what suits the likeliest hypotheses.
    leading = [hypothesise(template, score, found, measurement) for _, template, score, found in aligned[:LEADING]]
    rotation = max(leading, key=log_posterior).detector_rotation if leading else None
    candidates = leading + [
        hypothesise(template, score, found, measurement, (rotation,))
        for _, template, score, found in aligned[LEADING : options.refine]
    ]
    ranked = _with_probabilities(sorted(candidates, key=log_posterior, reverse=True))
    return Candidates(ranked[: options.keep], lattice, _margin(ranked), len(rows))


def hypothesise(
    template: Template,
    score: float,
    found: list[Alignment],
    measurement: Measurement,
    rotations: Sequence[float | None] = ROTATIONS,
) -> Candidate:
    """The best of a template's alignments, refined, as a candidate without a probability yet."""

    def merit(fit: Registration) -> float:
        return fit.log_likelihood / TEMPERATURE + fit.distortion.log_prior

    best = max(
        (refine(template.structure, alignment, measurement, rotations) for alignment in found),
        key=merit,
    )
    return Candidate(
        template=template.id,
        source=template.source,
        structure=template.structure,
        origin="template",
        cell=best.cell,
        crystal=best.distortion.crystal,
        shift=best.shift,
        score=score,
        log_likelihood=best.log_likelihood,
        log_prior=best.distortion.log_prior,
        correlation=best.correlation,
        strain=best.strain,
        scan_off=best.distortion.off,
        probability=0.0,
        amplitude=best.amplitude,
        damping=best.damping,
        detector_rotation=best.rotation,
        transfer_terms=tuple(float(term) for term in best.transfer_terms),
    )


def image_fingerprint(measurement: Measurement) -> Float32[np.ndarray, " D"]:
    """Fingerprint of an image, converted to the reference optics of its modality."""
    optics: Optics = measurement.optics
    cell = measurement.lattice.vectors
    indices: Int[np.ndarray, "K 2"] = nodes(cell, measurement.q_max)
    g = indices @ np.linalg.inv(cell).T
    q = np.linalg.norm(g, axis=1)
    power = np.maximum(np.abs(measurement.spectrum.coefficients(g)) ** 2 - measurement.spectrum.noise(q), 0.0)
    reference = REFERENCE_OPTICS[optics.modality]
    if reference != optics:
        own = np.maximum(transfer(g, optics), 0.05)
        power = power * (transfer(g, reference) / own) ** 2
    return powder_pattern(q, power)


def _with_probabilities(ranked: list[Candidate]) -> tuple[Candidate, ...]:
    if not ranked:
        return ()
    logs = np.array([log_posterior(c) for c in ranked])
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    return tuple(replace(c, probability=float(w)) for c, w in zip(ranked, weights, strict=True))


def log_posterior(candidate: Candidate) -> float:
    """Log odds of a hypothesis over noise, up to a constant."""
    return candidate.log_likelihood / TEMPERATURE + candidate.log_prior


def _margin(ranked: tuple[Candidate, ...]) -> float:
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
