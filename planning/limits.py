"""The named checks: what each measures, and the limit it is held against.

``docs/verification.md`` has the receiver operating characteristic of each on simulated images of real monolayers, and
the command that measures it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from planning.records import Check
from reconstruction.hypotheses import TOLD_APART
from reconstruction.superstructure import SIGNIFICANT


@dataclass(frozen=True)
class Limit:
    """A limit on a measured value.

    Attributes
    ----------
    value
        The limit.
    least
        Whether it is the least that passes; else it is the most.
    meaning
        What is measured, in words that a microscopist reads.
    """

    value: float
    least: bool
    meaning: str

    def passes(self, measured: float) -> bool:
        """Whether a measured value keeps the limit."""
        return bool(measured >= self.value if self.least else measured <= self.value)


def at_least(value: float, meaning: str) -> Limit:
    """A limit from below."""
    return Limit(value, True, meaning)


def at_most(value: float, meaning: str) -> Limit:
    """A limit from above."""
    return Limit(value, False, meaning)


LIMITS: Mapping[str, Limit] = {
    # Noise alone reaches 3.5 once in a hundred images.
    "lattice": at_least(4.0, "strongest reflection over the noise amplitude"),
    "one_lattice": at_least(0.8, "share of the reflected power on one lattice"),
    "template": at_least(1.0, "templates that fit the lattice of the image"),
    "fit": at_least(0.97, "correlation of the image with the simulated crystal"),
    # One for a perfect model; a wrong crystal at a good dose has five or more.
    "residual": at_most(2.5, "misfit of the refined model per coefficient"),
    # The RMSD that counts as success.
    "shift": at_most(0.25, "largest in-plane move of a site from the template, Å"),
    "strain": at_most(0.05, "deformation of the template's cell to the crystal's"),
    # Beyond, other crystals are as good an explanation.
    "scan": at_most(0.25, "distortion of the scan, taken out"),
    "distances": at_least(0.6, "shortest distance over covalent radii"),
    "superstructure": at_most(SIGNIFICANT, "-log10 of the probability that the crystal has no larger cell"),
    "charge": at_least(1.0, "1 when usual oxidation states balance"),
    "elements": at_least(1.0, "1 when the answer has the composition that was given"),
    "margin": at_least(TOLD_APART, "log odds over the next different structure"),
    "relaxation": at_most(0.5, "0 when the relaxation converged"),
    # Of the next three, true monolayers of a database of hypothetical ones, relaxed with SevenNet-l3i5, keep 98 in 100.
    "displacement": at_most(0.5, "largest in-plane move on relaxation, Å"),
    "relaxed_strain": at_most(0.15, "change of a or b on relaxation"),
    # The measured positions and cell with their errors, and what a potential moves of a right structure anyway.
    "moved": at_most(100.0, "χ² per free coordinate of what relaxation moves of what was measured"),
    # Known monolayers lie below.
    "energy": at_most(1.0, "formation energy, eV/atom"),
}
"""Every check by name."""

ADVISORY = frozenset({"charge"})
"""Checks that are told and decide nothing: of monolayers in databases, a quarter does not balance."""

STRAIN_OF_A_GUESS = 0.15
"""The limit on ``strain`` where the hypothesis was made from other elements: no relaxed structure of the material."""


def deciding(checks: Iterable[Check]) -> list[Check]:
    """The failed checks that decide something, in their order."""
    return [each for each in checks if not each.passed and each.name not in ADVISORY]


def check(name: str, measured: float, limit: float | None = None) -> Check:
    """Hold a measured value against the limit of a name, or against another one."""
    known = LIMITS[name]
    held = known if limit is None else Limit(limit, known.least, known.meaning)
    return Check(name, float(measured), held.value, held.passes(measured), held.meaning)
