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

STRAIN_SIGMA = 0.015
"""Prior standard deviation of the strain between a template's cell and the image's: what density functionals and
calibrated microscopes disagree by."""

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
    rotation = max(leading, key=lambda c: c.log_likelihood).detector_rotation if leading else None
    candidates = leading + [
        hypothesise(template, score, found, measurement, (rotation,))
        for _, template, score, found in aligned[LEADING : options.refine]
    ]
    ranked = _with_probabilities(sorted(candidates, key=lambda c: -c.log_likelihood))
    return Candidates(ranked[: options.keep], lattice, _margin(ranked), len(rows))


def hypothesise(
    template: Template,
    score: float,
    found: list[Alignment],
    measurement: Measurement,
    rotations: Sequence[float | None] = ROTATIONS,
) -> Candidate:
    """The best of a template's alignments, refined, as a candidate without a probability yet."""

    def likelihood(fit: Registration) -> float:
        return fit.log_likelihood - 0.5 * (fit.strain / STRAIN_SIGMA) ** 2

    best = max(
        (refine(template.structure, alignment, measurement, rotations) for alignment in found),
        key=likelihood,
    )
    return Candidate(
        template=template.id,
        source=template.source,
        structure=template.structure,
        origin="template",
        cell=best.cell,
        shift=best.shift,
        score=score,
        log_likelihood=likelihood(best),
        correlation=best.correlation,
        strain=best.strain,
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
    logs = np.array([c.log_likelihood for c in ranked]) / TEMPERATURE
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    return tuple(replace(c, probability=float(w)) for c, w in zip(ranked, weights, strict=True))


def _margin(ranked: tuple[Candidate, ...]) -> float:
    """Log-likelihood distance from the best to the next candidate that is another structure; infinite without one."""
    for other in ranked[1:]:
        if not looks_alike(ranked[0].structure, other.structure):
            return ranked[0].log_likelihood - other.log_likelihood
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
