"""What would tell two explanations apart is said in the user's terms."""

from __future__ import annotations

from dataclasses import replace

import fake_run
import numpy as np
from pymatgen.core import Structure

from microscopy.slab import slab
from planning.ambiguity import remedy, rival
from reconstruction.records import Candidate, Candidates


def honeycomb(*species: str) -> Structure:
    lattice = [[2.5, 0, 0], [-1.25, 2.5 * np.sqrt(3) / 2, 0], [0, 0, 20]]
    return slab(Structure(lattice, list(species), [[1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]]))


def candidate(structure: Structure, log_likelihood: float) -> Candidate:
    return replace(fake_run.candidate(structure, "id", 0.5), log_likelihood=log_likelihood, log_prior=0.0)


def hypotheses(*items: Candidate) -> Candidates:
    return Candidates(items, None, 0.1, len(items))


def test_the_same_structure_from_another_library_is_no_rival() -> None:
    best, twin = candidate(honeycomb("B", "N"), 800.0), candidate(honeycomb("N", "B"), 790.0)
    assert rival(hypotheses(best, twin), best) is None
    assert remedy(fake_run.micrograph(), hypotheses(best, twin), best, 1.5) == ""


def test_elements_and_dose_are_named_where_they_would_decide() -> None:
    best, other = candidate(honeycomb("B", "N"), 802.0), candidate(honeycomb("C", "C"), 800.0)
    unknown = replace(fake_run.micrograph(), elements=None, formula=None)
    sentence = remedy(unknown, hypotheses(best, other), best, 1.5)
    assert "BN and C explain the image equally well" in sentence
    assert "--elements" in sentence
    assert "6 times the dose" in sentence  # log odds 2/8 now, 1.5 wanted

    known = replace(unknown, elements=("B", "N"))
    assert "--elements" not in remedy(known, hypotheses(best, other), best, 1.5)


def test_projections_that_are_the_same_need_another_signal() -> None:
    best = candidate(honeycomb("B", "N"), 800.0)
    other = candidate(honeycomb("C", "C"), 800.0)
    known = replace(fake_run.micrograph(), elements=None, formula="BN")
    assert "another signal" in remedy(known, hypotheses(best, other), best, 1.5)
