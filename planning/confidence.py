"""The probability that an answer is right, from what was measured on the way to it.

A logistic model of a handful of numbers, fitted to simulated images of real monolayers: at many doses, with and
without artefacts, with the elements given or not, with the template in the library or withheld. The coefficients and
the command that fits them are in ``confidence.json``.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Composition

from microscopy.micrograph import Micrograph
from microscopy.slab import plane_cell
from reconstruction.distortion import deformation
from reconstruction.hypotheses import lead
from reconstruction.records import Candidates, Reconstruction

MODEL = Path(__file__).with_name("confidence.json")

LEAD = 12.5
"""Log odds beyond which a larger lead says no more."""


CLOSE_FIT, AT_NOISE, SAME_CELL = 0.03, 0.1, 0.3
"""Misfit, log₁₀ χ² and strain (percent) within which a model is as good as the image allows: beyond these steps, more
of each says less."""


def features(micrograph: Micrograph, candidates: Candidates, reconstruction: Reconstruction) -> dict[str, float]:
    """What the confidence looks at.

    Returns
    -------
    misfit
        √(1 − correlation) of measured and modelled coefficients.
    chi2
        log₁₀ of the weighted misfit per coefficient.
    lead
        Log odds over the next different structure, within ± ``LEAD``, as a share of it.
    strain, scan
        Deformation of the hypothesis's cell to the crystal's, and of the crystal's to the image's, percent, up to 25.
    signal
        log₁₀ of the log likelihood over pure noise.
    named
        1 when the user named the elements or the formula and the answer has them.
    guess, free
        1 when the structure was made from other elements, or from the image alone.
    shift
        Å, largest move of a site from the hypothesis, up to 0.5.
    close_fit, at_noise, same_cell, as_stated
        Misfit, χ², strain and the deformation of the hypothesis's cell to the image's, all distortion of the scan
        included, within ``CLOSE_FIT``, ``AT_NOISE`` and ``SAME_CELL``, as shares of them. A wrong hypothesis seldom has
        the very cell that the file states.
    lookalikes
        log₁₀ of the number of compositions, elements replaced one for one, that the image cannot tell from this one.
    prior
        Log prior of a known structure within ± ``LEAD``, as a share of it; 0 for one that was made, whose prior holds
        what its freedom costs, which grows with the dose.
    """
    candidate = reconstruction.candidate
    symbols = {site.specie.symbol for site in candidate.structure}
    composition = candidate.structure.composition.reduced_composition
    if micrograph.formula:
        named = Composition(micrograph.formula).reduced_composition == composition
    else:
        named = set(micrograph.elements or ()) == symbols
    values = {
        "misfit": float(np.sqrt(max(0.0, 1 - candidate.correlation))),
        "chi2": float(np.log10(np.clip(reconstruction.chi2, 0.3, 1e3))),
        "lead": float(np.clip(lead(candidates, candidate), -LEAD, LEAD)) / LEAD,
        "strain": 100 * min(deformation(plane_cell(candidate.structure), candidate.crystal), 0.25),
        "scan": 100 * min(deformation(candidate.crystal, candidate.cell), 0.25),
        "signal": float(np.log10(1 + max(candidate.log_likelihood, 0.0))),
        "named": float(named),
        "guess": float(candidate.origin == "substitution"),
        "free": float(candidate.origin == "free"),
        "shift": min(float(moves(reconstruction).max()), 0.5),
    }
    return values | {
        "close_fit": min(values["misfit"] / CLOSE_FIT, 1.0),
        "at_noise": float(np.clip(values["chi2"] / AT_NOISE, -1, 1)),
        "same_cell": min(values["strain"] / SAME_CELL, 1.0),
        "as_stated": min(100 * deformation(plane_cell(candidate.structure), candidate.cell) / SAME_CELL, 1.0),
        "lookalikes": float(sum(np.log10(1 + len(each.alike)) for each in reconstruction.elements)),
        "prior": float(np.clip(candidate.log_prior, -LEAD, LEAD)) / LEAD if candidate.origin == "template" else 0.0,
    }


def moves(reconstruction: Reconstruction) -> np.ndarray:
    """In-plane moves of the sites from the hypothesis to the image in Å, a common shift removed, shape (N,)."""
    found, hypothesis = reconstruction.structure, reconstruction.candidate.structure
    delta = found.frac_coords[:, :2] - hypothesis.frac_coords[:, :2]
    delta -= delta[0]
    delta -= np.round(delta)
    delta -= delta.mean(axis=0)
    return np.asarray(np.linalg.norm(delta @ found.lattice.matrix[:2, :2], axis=1))


def confidence(micrograph: Micrograph, candidates: Candidates, reconstruction: Reconstruction) -> float:
    """Probability that the reconstructed crystal is the one in the image, 0 to 1."""
    model = _model()
    values = features(micrograph, candidates, reconstruction)
    logit = model["intercept"] + sum(weight * values[name] for name, weight in model["weights"].items())
    return float(1 / (1 + np.exp(-logit)))


@lru_cache(maxsize=1)
def _model() -> dict[str, Any]:
    return dict(json.loads(MODEL.read_text(encoding="utf-8")))
