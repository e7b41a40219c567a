"""The probability that an answer is right, from what was measured on the way to it.

A logistic model of a handful of numbers, fitted to simulated images of real monolayers whose template was in the
library or withheld, with the elements given or not. The coefficients and the command that fits them are in
``confidence.json``.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Composition

from microscopy.micrograph import Micrograph
from reconstruction.records import Candidates, Reconstruction

MODEL = Path(__file__).with_name("confidence.json")

LEAD = 12.5
"""Log odds beyond which a larger lead says no more."""


def features(micrograph: Micrograph, candidates: Candidates, reconstruction: Reconstruction) -> dict[str, float]:
    """What the confidence looks at.

    Returns
    -------
    misfit
        √(1 − correlation) of measured and modelled coefficients.
    chi2
        log₁₀ of the weighted misfit per coefficient.
    lead
        Log likelihood ahead of the next different structure, up to ``LEAD``, as a share of it.
    strain
        Relative difference of template and image cell, percent, up to 5.
    signal
        log₁₀ of the log likelihood over pure noise.
    elements
        1 when the user named the elements or the formula and the answer has them.
    """
    candidate = reconstruction.candidate
    leads = candidates.items[0].template == candidate.template
    symbols = {site.specie.symbol for site in candidate.structure}
    composition = candidate.structure.composition.reduced_composition
    if micrograph.formula:
        named = Composition(micrograph.formula).reduced_composition == composition
    else:
        named = set(micrograph.elements or ()) == symbols
    return {
        "misfit": float(np.sqrt(max(0.0, 1 - candidate.correlation))),
        "chi2": float(np.log10(np.clip(reconstruction.chi2, 0.3, 1e3))),
        "lead": float(np.clip(candidates.margin, 0, LEAD)) / LEAD if leads else 0.0,
        "strain": 100 * min(candidate.strain, 0.05),
        "signal": float(np.log10(1 + max(candidate.log_likelihood, 0.0))),
        "elements": float(named),
    }


def confidence(micrograph: Micrograph, candidates: Candidates, reconstruction: Reconstruction) -> float:
    """Probability that the reconstructed crystal is the one in the image, 0 to 1."""
    model = _model()
    values = features(micrograph, candidates, reconstruction)
    logit = model["intercept"] + sum(weight * values[name] for name, weight in model["weights"].items())
    return float(1 / (1 + np.exp(-logit)))


@lru_cache(maxsize=1)
def _model() -> dict[str, Any]:
    return dict(json.loads(MODEL.read_text(encoding="utf-8")))
