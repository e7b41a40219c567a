"""The metrics of STEM2Crystal-Bench, from their definitions: ranked candidates against one truth, and over a set.

Candidates count only when their reduced formula is right. Structures are compared as three-dimensional crystals, as
they stand in their CIF files. Two deliberate simplifications: its evaluator stops a comparison after 1.5 s of wall
clock, which makes a figure depend on the machine; here a candidate of more than `MAX_SITES` sites, which is where the
matcher takes long, is no match.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core.structure import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from scipy.stats import wasserstein_distance

K = 5
"""Candidates that count."""

LENGTH_TOLERANCE, SITE_TOLERANCE, ANGLE_TOLERANCE = 0.3, 0.5, 10
SYMMETRY_TOLERANCE = 0.1
"""Å, for the space group."""

WRONG_LATTICE = 0.2
"""Relative error of a, b or γ beyond which a miss is put down to the lattice."""

MAX_SITES = 200

Failure = Literal["hit", "formula", "wrong_lattice", "lattice_ok_wrong_SG", "coord_other"]
FAILURES: tuple[Failure, ...] = ("formula", "wrong_lattice", "lattice_ok_wrong_SG", "coord_other")


@dataclass(frozen=True)
class Sample:
    """One truth and its candidates.

    Attributes
    ----------
    answered
        Whether there was any candidate.
    hit1, hit5
        Whether the first, or any of five, matches when both are brought to one volume.
    min_rms
        Smallest RMS of these five, over (volume per atom)^(1/3); None without a match.
    match_abs, rmsd
        Whether any matches at its own size, and the smallest RMS then, in Å.
    space_group
        Whether the first has the truth's formula and space group.
    failure
        ``hit``, or why the first is wrong.
    lattice, true_lattice
        (b, γ) of the first and of the truth, Å and degrees.
    """

    answered: bool
    hit1: bool
    hit5: bool
    min_rms: float | None
    match_abs: bool
    rmsd: float | None
    space_group: bool
    failure: Failure
    lattice: tuple[float, float] | None
    true_lattice: tuple[float, float]


UNANSWERED = Sample(False, False, False, None, False, None, False, "formula", None, (0.0, 0.0))
"""A truth without any candidate."""


def score_sample(truth: Structure, candidates: Sequence[Structure]) -> Sample:
    """Score ranked candidates, best first."""
    chosen = list(candidates)[:K]
    true_lattice = (float(truth.lattice.b), float(truth.lattice.gamma))
    if not chosen:
        return replace(UNANSWERED, true_lattice=true_lattice)
    scaled = [_rms(truth, each, scale=True) for each in chosen]
    absolute = [_rms(truth, each, scale=False) for each in chosen]
    length = (truth.volume / len(truth)) ** (1 / 3)
    best = min((rms for rms in absolute if rms is not None), default=None)
    same_group = _formula(chosen[0]) == _formula(truth) and _space_group(chosen[0]) == _space_group(truth)
    hit = any(rms is not None for rms in scaled)
    return Sample(
        answered=True,
        hit1=scaled[0] is not None,
        hit5=hit,
        min_rms=min((rms for rms in scaled if rms is not None), default=None),
        match_abs=best is not None,
        rmsd=None if best is None else best * length,
        space_group=same_group,
        failure="hit" if hit else _failure(truth, chosen[0], same_group),
        lattice=(float(chosen[0].lattice.b), float(chosen[0].lattice.gamma)),
        true_lattice=true_lattice,
    )


def aggregate(samples: Sequence[Sample]) -> dict[str, Any]:
    """Figures over a set, under the names of its leaderboard; rates are over all samples, answered or not."""
    count = len(samples)
    answered = [sample for sample in samples if sample.answered]
    rms = [sample.min_rms for sample in answered if sample.min_rms is not None]
    absolute = [sample.rmsd for sample in answered if sample.rmsd is not None]
    failures = Counter(sample.failure for sample in answered)
    pairs = [(sample.lattice, sample.true_lattice) for sample in answered if sample.lattice is not None]
    return {
        "N": count,
        "parsable": len(answered),
        "Hit1": sum(sample.hit1 for sample in samples) / count,
        "Hit5": sum(sample.hit5 for sample in samples) / count,
        "MinRMS_median": statistics.median(rms) if rms else None,
        "MinRMS_mean": statistics.fmean(rms) if rms else None,
        "Match_abs": sum(sample.match_abs for sample in samples) / count,
        "RMSD_A": statistics.median(absolute) if absolute else None,
        "SG_Acc": sum(sample.space_group for sample in samples) / count,
        "W1_b": _distance(pairs, 0),
        "W1_gamma": _distance(pairs, 1),
        "failure_modes": {name: failures[name] / count for name in FAILURES},
    }


def sample_of(values: Mapping[str, Any]) -> Sample:
    """Read a sample back from its JSON form (``dataclasses.asdict``)."""
    pairs = {name: tuple(values[name]) if values[name] else None for name in ("lattice", "true_lattice")}
    return Sample(**{**values, **pairs})


def _rms(truth: Structure, candidate: Structure, *, scale: bool) -> float | None:
    """RMS of the best match over (V/N)^(1/3); None without one."""
    if _formula(candidate) != _formula(truth) or len(candidate) > MAX_SITES:
        return None
    matcher = StructureMatcher(
        ltol=LENGTH_TOLERANCE,
        stol=SITE_TOLERANCE,
        angle_tol=ANGLE_TOLERANCE,
        primitive_cell=True,
        attempt_supercell=False,
        scale=scale,
    )
    found = matcher.get_rms_dist(truth, candidate)
    return None if found is None else float(found[0])


def _failure(truth: Structure, first: Structure, same_group: bool) -> Failure:
    if _formula(first) != _formula(truth):
        return "formula"
    errors = [abs(getattr(first.lattice, name) / getattr(truth.lattice, name) - 1) for name in ("a", "b", "gamma")]
    if max(errors) > WRONG_LATTICE:
        return "wrong_lattice"
    return "coord_other" if same_group else "lattice_ok_wrong_SG"


def _distance(pairs: Sequence[tuple[tuple[float, float], tuple[float, float]]], which: int) -> float | None:
    if not pairs:
        return None
    return float(wasserstein_distance([found[which] for found, _ in pairs], [true[which] for _, true in pairs]))


def _formula(structure: Structure) -> str:
    return str(structure.composition.reduced_formula)


def _space_group(structure: Structure) -> int | None:
    try:
        return int(SpacegroupAnalyzer(structure, symprec=SYMMETRY_TOLERANCE).get_space_group_number())
    except Exception:  # spglib finds none in a degenerate cell, and says so in many ways
        return None
