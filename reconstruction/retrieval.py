"""From an image to ranked hypotheses: fingerprints propose, registration with phases disposes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from pymatgen.core import Composition

from library.records import Template
from library.store import Library
from microscopy.micrograph import Micrograph, Modality
from reconstruction.alignment import align
from reconstruction.drift import find_lattice_with_jitter
from reconstruction.hypotheses import LEADING, Proposal, log_posterior, margin, ranked, register
from reconstruction.lattice import find_lattice, sharpened
from reconstruction.measurement import Measurement, measure
from reconstruction.multiplicity import thinned
from reconstruction.query import search
from reconstruction.records import Candidates
from reconstruction.spectrum import highest_frequency
from reconstruction.substitution import STRETCH, substitutions
from reconstruction.superstructure import superstructures
from reconstruction.template_free import build_free

MOST_SUBSTITUTED = 5000
"""Structures in which other elements are tried, a second's worth: of a larger library those most like the image in any
size, for it also holds their structure types with elements that scatter much the same."""


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
    substitute
        Whether structures of other elements are tried with the elements that the user gave.
    supercells
        Whether larger cells of known structures are tried.
    template_free
        Whether structures are built from the image alone, with the elements that the user gave.
    use_elements
        Whether the elements or formula that the user gave restrict the search.
    exclude
        Template ids or formulas left out.
    """

    shortlist: int = 300
    refine: int = 40
    strain: float = 0.04
    keep: int = 10
    substitute: bool = False
    supercells: bool = False
    template_free: bool = False
    use_elements: bool = True
    exclude: tuple[str, ...] = ()


def retrieve(
    micrograph: Micrograph,
    library: Library,
    options: RetrievalOptions = RetrievalOptions(),
    denoised: Micrograph | None = None,
) -> Candidates:
    """Rank the templates of a library by how well they explain a micrograph.

    Parameters
    ----------
    micrograph
        As recorded: everything is measured on it.
    library
        Templates.
    options
        How widely to search.
    denoised
        The same image denoised, to look for the lattice in where the recorded one does not show it.

    Returns
    -------
    Candidates, best first; without items when the image has no lattice or no template fits it.

    Raises
    ------
    ReconstructionError
        If the micrograph has no pixel size.
    """
    q_max = highest_frequency(micrograph)
    if denoised is None:
        lattice = find_lattice_with_jitter(micrograph, q_max)
    else:
        lattice = find_lattice(denoised, q_max)
        # What a denoiser shows may be its own invention: the recorded image must bear it out.
        lattice = lattice and sharpened(lattice, micrograph, q_max)
    elements = micrograph.elements if options.use_elements else None
    formula = micrograph.formula if options.use_elements else None
    rows = library.rows(elements=elements, formula=formula, exclude=options.exclude)
    if lattice is None:
        return Candidates((), None, 0.0, len(rows))
    measurement = measure(micrograph, lattice)
    sign_free = micrograph.modality is Modality.UNKNOWN
    fitting, others = _templates(measurement, library, rows, micrograph.modality, options)
    candidates = register(fitting, measurement)
    if options.supercells:
        leading = sorted(candidates, key=log_posterior, reverse=True)[:LEADING]
        candidates += superstructures(leading, others, measurement, options.strain, sign_free)
    searched = len(rows)
    if options.substitute and (elements or formula):
        kinds = len(Composition(formula)) if formula else len(set(elements or ()))
        pool = library.rows(exclude=options.exclude, kinds=kinds)
        if len(pool) > MOST_SUBSTITUTED:
            pool, _ = search(measurement, library, micrograph.modality, STRETCH, MOST_SUBSTITUTED, pool)
        candidates += substitutions(measurement, library, pool, micrograph.modality, elements, formula)
        searched += len(pool)
    if options.template_free and (elements or formula):
        candidates += build_free(replace(micrograph, elements=elements, formula=formula), measurement)
    candidates += thinned(candidates, measurement, options.strain, sign_free)
    found = ranked(candidates)
    return Candidates(found[: options.keep], lattice, margin(found), searched)


def _templates(
    measurement: Measurement, library: Library, rows: np.ndarray, modality: Modality, options: RetrievalOptions
) -> tuple[list[Proposal], list[Template]]:
    """Templates whose cell fits, those first that explain most of the image; and those alike whose cell does not.

    The latter for supercells only.
    """
    sign_free = modality is Modality.UNKNOWN
    fitting = library.rows(lattice=measurement.lattice.vectors, strain=options.strain)
    rows_fitting = np.intersect1d(rows, fitting, assume_unique=True)
    shortlist, scores = search(measurement, library, modality, options.strain, options.shortlist, rows_fitting)
    proposals = []
    for row, score in zip(shortlist, scores, strict=True):
        template = library.template(int(row))
        found = align(template.structure, measurement, options.strain, sign_free)
        if found:
            proposals.append(Proposal(template, template.structure, "template", float(score), found))
    others: list[Template] = []
    if options.supercells:
        alike, _ = search(measurement, library, modality, options.strain, options.shortlist, rows)
        fits = {proposal.template.id for proposal in proposals}
        others = [template for template in map(library.template, map(int, alike)) if template.id not in fits]
    return sorted(proposals, key=lambda each: -each.alignments[0].gain)[: options.refine], others
