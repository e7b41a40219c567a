"""The metrics of STEM2Crystal-Bench, from their definitions: ranked candidates against one truth, and over a set.

Only candidates with the truth's reduced formula can match. Structures are compared as three-dimensional crystals, as
they stand in their CIF files, so heights and vacuum count. Rates are over all samples, answered or not; RMS values over
the samples that matched, and lattice distances over those that were answered [1]_.

Its evaluator stops a comparison after 1.5 s of wall clock and calls it no match, which works in a main thread only and
makes a figure depend on the machine. Here the work is bounded before it is begun (`MAX_SITES`, `MAX_NODES`): the same
figures for every structure that a comparison is quick for, which slabs of up to 58 Å and 30 sites are (0.4 s), and no
clock.

References
----------
.. [1] Chen, You, "From Noisy STEM to Crystal Structure", KDD 2026, section 5.2; docs of STEM2Crystal-Bench.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core.structure import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError
from scipy.stats import wasserstein_distance

from reconstruction.operations import quiet_spglib

RANKED = 5
"""Candidates that count."""

LENGTH_TOLERANCE, SITE_TOLERANCE, ANGLE_TOLERANCE = 0.3, 0.5, 10.0
"""Relative; in units of (volume per atom)^(1/3); degrees."""

SYMMETRY_TOLERANCE = 0.1
"""Å, for the space group."""

WRONG_LATTICE = 0.2
"""Relative error of a, b or γ beyond which a miss is put down to the lattice."""

MAX_SITES = 200
MAX_NODES = 20_000
"""Sites, and lattice points that the matcher has to look at: beyond, a comparison may take minutes or all memory.
Slabs in vacuum have up to 2,500."""

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
        Smallest RMS then, over (volume per atom)^(1/3); None without a match.
    match_abs, rmsd
        Whether any matches at its own size, and the smallest RMS then in Å; None without a match.
    space_group
        Whether the first has the truth's formula and three-dimensional space group.
    failure
        ``hit`` when any of five matches, otherwise why the first does not; None when not answered.
    lattice, true_lattice
        (b in Å, γ in degrees) of the first and of the truth, as they stand in their files; None when not answered.
    """

    answered: bool
    hit1: bool
    hit5: bool
    min_rms: float | None
    match_abs: bool
    rmsd: float | None
    space_group: bool
    failure: Failure | None
    lattice: tuple[float, float] | None
    true_lattice: tuple[float, float] | None


UNANSWERED = Sample(False, False, False, None, False, None, False, None, None, None)
"""A truth without a candidate that could be read."""


def score_sample(truth: Structure, candidates: Sequence[Structure]) -> Sample:
    """Score ranked candidates, best first; those beyond `RANKED` are not looked at."""
    ranked = candidates[:RANKED]
    if not ranked:
        return UNANSWERED
    first = ranked[0]
    scaled = [_rms(truth, candidate, scale=True) for candidate in ranked]
    min_rms = _smallest(scaled)
    absolute = _smallest([_rms(truth, candidate, scale=False) for candidate in ranked])
    same_group = _formula(first) == _formula(truth) and _space_group(first) == _space_group(truth)
    return Sample(
        answered=True,
        hit1=scaled[0] is not None,
        hit5=min_rms is not None,
        min_rms=min_rms,
        match_abs=absolute is not None,
        rmsd=None if absolute is None else absolute * (truth.volume / len(truth)) ** (1 / 3),
        space_group=same_group,
        failure=_failure(truth, first, same_group) if min_rms is None else "hit",
        lattice=(float(first.lattice.b), float(first.lattice.gamma)),
        true_lattice=(float(truth.lattice.b), float(truth.lattice.gamma)),
    )


def aggregate(samples: Sequence[Sample]) -> dict[str, Any]:
    """Figures over a set, by the names of the leaderboard, not rounded.

    Returns
    -------
    dict
        N, parsable; Hit1, Hit5, Match_abs, SG_Acc and failure_modes as shares of N; MinRMS_median, MinRMS_mean in units
        of (volume per atom)^(1/3), RMSD_A (median) and W1_b in Å, W1_gamma in degrees. None where there is nothing to
        take a figure of.
    """
    answered = [sample for sample in samples if sample.answered]
    rms = [sample.min_rms for sample in answered if sample.min_rms is not None]
    rmsd = [sample.rmsd for sample in answered if sample.rmsd is not None]
    failures = Counter(sample.failure for sample in answered)

    def share(count: int) -> float | None:
        return count / len(samples) if samples else None

    return {
        "N": len(samples),
        "parsable": len(answered),
        "Hit1": share(sum(sample.hit1 for sample in answered)),
        "Hit5": share(sum(sample.hit5 for sample in answered)),
        "MinRMS_median": statistics.median(rms) if rms else None,
        "MinRMS_mean": statistics.fmean(rms) if rms else None,
        "Match_abs": share(sum(sample.match_abs for sample in answered)),
        "RMSD_A": statistics.median(rmsd) if rmsd else None,
        "SG_Acc": share(sum(sample.space_group for sample in answered)),
        "W1_b": _lattice_distance(answered, 0),
        "W1_gamma": _lattice_distance(answered, 1),
        "failure_modes": {name: share(failures[name]) for name in FAILURES},
    }


def sample_of(values: Mapping[str, Any]) -> Sample:
    """Read a sample back from JSON of its ``dataclasses.asdict``."""
    pairs = {name: values[name] and tuple(values[name]) for name in ("lattice", "true_lattice")}
    return Sample(**{**values, **pairs})


def _rms(truth: Structure, candidate: Structure, *, scale: bool) -> float | None:
    """RMS of the best match over (volume per atom)^(1/3); None without a match."""
    if _formula(candidate) != _formula(truth) or _too_large(truth, candidate):
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


def _too_large(first: Structure, second: Structure) -> bool:
    """Whether matching could take long: it tries every lattice point within the longest edge and its tolerance."""
    reach = (1 + LENGTH_TOLERANCE) * max(*first.lattice.abc, *second.lattice.abc)
    nodes = 4 / 3 * math.pi * reach**3 / min(first.volume, second.volume)
    return nodes > MAX_NODES or max(len(first), len(second)) > MAX_SITES


def _failure(truth: Structure, first: Structure, same_group: bool) -> Failure:
    if _formula(first) != _formula(truth):
        return "formula"
    errors = [abs(getattr(first.lattice, name) / getattr(truth.lattice, name) - 1) for name in ("a", "b", "gamma")]
    if max(errors) > WRONG_LATTICE:
        return "wrong_lattice"
    return "coord_other" if same_group else "lattice_ok_wrong_SG"


def _lattice_distance(answered: Sequence[Sample], which: int) -> float | None:
    """Wasserstein-1 distance between the distributions of b (0) or γ (1), found and true."""
    found = [sample.lattice[which] for sample in answered if sample.lattice]
    true = [sample.true_lattice[which] for sample in answered if sample.true_lattice]
    return float(wasserstein_distance(found, true)) if found else None


def _smallest(values: Sequence[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _formula(structure: Structure) -> str:
    return str(structure.composition.reduced_formula)


def _space_group(structure: Structure) -> int | None:
    try:
        with quiet_spglib():
            return int(SpacegroupAnalyzer(structure, symprec=SYMMETRY_TOLERANCE).get_space_group_number())
    except SymmetryUndeterminedError:
        return None
