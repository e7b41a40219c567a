"""What would tell two explanations of one image apart."""

from __future__ import annotations

import numpy as np

from microscopy.micrograph import Micrograph
from reconstruction.hypotheses import log_posterior, looks_alike
from reconstruction.records import Candidate, Candidates

MOST = 1000.0
"""Times the dose beyond which no microscope, and no monolayer, can go."""


def rival(candidates: Candidates, chosen: Candidate) -> Candidate | None:
    """Likeliest hypothesis that is another structure than the one chosen."""
    for other in candidates.items:
        if not looks_alike(chosen.structure, other.structure):
            return other
    return None


def remedy(micrograph: Micrograph, candidates: Candidates, chosen: Candidate, wanted: float) -> str:
    """One sentence on what would raise the log odds of a hypothesis over its rival to those wanted.

    Parameters
    ----------
    micrograph
        What the user said of the specimen.
    candidates, chosen
        The hypotheses of the image, and the one that was reconstructed.
    wanted
        Log odds at which two hypotheses count as told apart.
    """
    other = rival(candidates, chosen)
    if other is None:
        return ""
    names = [_formula(chosen), _formula(other)]
    both = f"{names[0]} and {names[1]}" if names[0] != names[1] else f"two structures of {names[0]}"
    hints = []
    if micrograph.elements is None and micrograph.formula is None and _elements(chosen) != _elements(other):
        hints.append("naming the elements (--elements)")
    elif micrograph.formula is None and names[0] != names[1]:
        hints.append("naming the formula (--formula)")
    # The odds of what the image shows grow with its electrons, wherever they fall; those of the prior stay.
    prior = chosen.log_prior - other.log_prior
    evidence = log_posterior(chosen) - log_posterior(other) - prior
    factor = (wanted - prior) / evidence if evidence > 0 else np.inf
    if 1 < factor < MOST:
        hints.append(f"about {factor:.2g} times the dose or the area of the field of view")
    elif not hints:
        hints.append("another signal, such as HAADF beside iDPC: their projections are the same to this one")
    return f"{both} explain the image equally well; {' or '.join(hints)} would tell them apart"


def _formula(candidate: Candidate) -> str:
    return str(candidate.structure.composition.reduced_formula)


def _elements(candidate: Candidate) -> set[str]:
    return {element.symbol for element in candidate.structure.composition.elements}
