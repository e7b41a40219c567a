"""Named checks on one attempt, and the verdict they imply.

Each check holds one measured number against one limit. What a check says is kept apart from what is done about
it: the planner reads names, a person reads ``meaning``.
"""

from __future__ import annotations

import numpy as np
from pymatgen.core import Composition, Element, Structure

from microscopy.micrograph import Micrograph
from microscopy.slab import plane_cell
from models.records import Relaxation
from planning.ambiguity import remedy
from planning.confidence import confidence, moves
from planning.records import Check, Status, Verdict
from reconstruction.distortion import deformation
from reconstruction.hypotheses import lead
from reconstruction.records import Candidates, Reconstruction
from reconstruction.substitution import charges_balance
from reconstruction.superstructure import SIGNIFICANT

LATTICE_SIGNIFICANCE = 4.0
"""Strongest reflection over the noise amplitude; noise alone reaches 3.5 once in a hundred images."""

ONE_LATTICE = 0.8
"""Share of the reflected power on the lattice."""

FIT = 0.97
"""Correlation of measured and modelled coefficients."""

UNLIKE = 0.85
"""Correlation below which the image shows something else."""

RESIDUAL = 2.5
"""Weighted misfit per coefficient: one for a perfect model; a wrong crystal at a good dose has five or more."""

SHIFT = 0.25
"""Å, largest in-plane move of a site from the hypothesis to the image: the RMSD that counts as success."""

STRAIN = 0.05
STRAIN_OF_A_GUESS = 0.15
"""Largest relative deformation between the cell of the hypothesis and that of the crystal, when it is a relaxed
structure of the material, and when it was made from other elements."""

SCAN = 0.25
"""Largest distortion of the scan that is taken out: beyond, other crystals are as good an explanation."""

OVERLAP = 0.6
"""Shortest distance over the sum of the covalent radii."""

SUPERSTRUCTURE = SIGNIFICANT
"""−log₁₀ of the probability that the cell is not a part of a larger one."""

MARGIN = 1.5
"""Log odds over the next different structure."""

DISPLACEMENT = 0.35
"""Å, largest in-plane move of a site under relaxation."""

RELAXED_STRAIN = 0.06
"""Largest change of a or b under relaxation."""

FORMATION_ENERGY = 1.0
"""eV/atom; known monolayers lie below."""

REJECTING = frozenset({"lattice", "one_lattice"})
"""Without these there is no answer to give."""

HOPELESS_CONFIDENCE = 0.02
"""Below, the best that was found is not worth calling likely."""

ACCEPTED_CONFIDENCE = 0.8
"""Below, an answer that passes every check is still called ambiguous."""


IN_WORDS = {
    "lattice": "no lattice stands out of the noise",
    "one_lattice": "the image holds more than one lattice",
    "template": "no template in the library fits the lattice",
}
"""What it means to fail where a number says little."""


def verify(
    micrograph: Micrograph,
    candidates: Candidates,
    reconstruction: Reconstruction | None,
    relaxation: Relaxation | None,
) -> Verdict:
    """Check one attempt.

    Parameters
    ----------
    micrograph
        The image.
    candidates
        What retrieval found; may be empty.
    reconstruction
        The hypothesis under test, refined; None when there was none.
    relaxation
        Its relaxation; None when it was not asked for.
    """
    checks = [*_lattice_checks(candidates)]
    if reconstruction is None:
        if candidates.lattice is not None:
            checks.append(Check("template", 0.0, 1.0, False, "templates that fit the lattice of the image"))
        return Verdict(tuple(checks), 0.0, Status.REJECTED, _reason(checks))
    checks += _image_checks(candidates, reconstruction)
    checks += _composition_checks(micrograph, reconstruction)
    if relaxation is not None:
        checks += _energy_checks(relaxation)
    probability = confidence(micrograph, candidates, reconstruction)
    status = _status(checks, reconstruction, probability)
    reason = _reason(checks)
    if status is Status.AMBIGUOUS:
        if all(check.passed for check in checks):
            reason = f"every check passed, but of answers like this only {probability:.0%} are right"
        elif any(check.name == "margin" and not check.passed for check in checks):
            reason = "; ".join(filter(None, (reason, remedy(micrograph, candidates, reconstruction.candidate, MARGIN))))
    return Verdict(tuple(checks), probability, status, reason)


def _lattice_checks(candidates: Candidates) -> list[Check]:
    lattice = candidates.lattice
    significance = 0.0 if lattice is None else lattice.significance
    checks = [
        _at_least("lattice", significance, LATTICE_SIGNIFICANCE, "strongest reflection over the noise amplitude"),
    ]
    if lattice is not None:
        checks.append(
            _at_least("one_lattice", lattice.share, ONE_LATTICE, "share of the reflected power on one lattice")
        )
    return checks


def _image_checks(candidates: Candidates, reconstruction: Reconstruction) -> list[Check]:
    candidate = reconstruction.candidate
    margin = lead(candidates, candidate)
    strain = deformation(plane_cell(candidate.structure), candidate.crystal)
    strain_limit = STRAIN if candidate.origin == "template" else STRAIN_OF_A_GUESS
    return [
        _at_least("fit", candidate.correlation, FIT, "correlation of the image with the simulated crystal"),
        _at_most("residual", reconstruction.chi2, RESIDUAL, "misfit of the refined model per coefficient"),
        _at_most(
            "shift", float(moves(reconstruction).max()), SHIFT, "largest in-plane move of a site from the template, Å"
        ),
        _at_most("strain", strain, strain_limit, "deformation of the template's cell to the crystal's"),
        _at_most("scan", deformation(candidate.crystal, candidate.cell), SCAN, "distortion of the scan, taken out"),
        _at_least(
            "distances",
            _shortest_distance(reconstruction.symmetrised),
            OVERLAP,
            "shortest distance over covalent radii",
        ),
        _at_most(
            "superstructure",
            reconstruction.superstructure,
            SUPERSTRUCTURE,
            "-log10 of the probability that the crystal has no larger cell",
        ),
        _at_least("margin", min(margin, 1e6), MARGIN, "log odds over the next different structure"),
    ]


def _composition_checks(micrograph: Micrograph, reconstruction: Reconstruction) -> list[Check]:
    """Whether such a compound can be, where none is known, and what the user said of the specimen, when anything."""
    composition = reconstruction.structure.composition
    checks = []
    if reconstruction.candidate.origin != "template" and not micrograph.formula:
        balanced = charges_balance(composition.reduced_formula)
        checks.append(Check("charge", float(balanced), 1.0, balanced, "1 when usual oxidation states balance"))
    if micrograph.formula:
        agrees = composition.reduced_formula == Composition(micrograph.formula).reduced_formula
    elif micrograph.elements:
        agrees = {str(element) for element in composition.elements} == set(micrograph.elements)
    else:
        return checks
    return [
        *checks,
        Check("elements", float(agrees), 1.0, agrees, "1 when the answer has the composition that was given"),
    ]


def _energy_checks(relaxation: Relaxation) -> list[Check]:
    checks = [
        _at_most("relaxation", 0.0 if relaxation.converged else 1.0, 0.5, "0 when the relaxation converged"),
        _at_most(
            "displacement",
            float(relaxation.displacements.max()),
            DISPLACEMENT,
            "largest in-plane move on relaxation, Å",
        ),
        _at_most(
            "relaxed_strain",
            float(np.abs(relaxation.strain[:2]).max()),
            RELAXED_STRAIN,
            "change of a or b on relaxation",
        ),
    ]
    if relaxation.formation_energy_per_atom is not None:
        checks.append(
            _at_most("energy", relaxation.formation_energy_per_atom, FORMATION_ENERGY, "formation energy, eV/atom")
        )
    return checks


def _status(checks: list[Check], reconstruction: Reconstruction, probability: float) -> Status:
    failed = {check.name for check in checks if not check.passed}
    fit = reconstruction.candidate.correlation
    unlike = fit < UNLIKE or (fit < FIT and probability < HOPELESS_CONFIDENCE)
    if failed & REJECTING or unlike:
        return Status.REJECTED
    if failed or probability < ACCEPTED_CONFIDENCE:
        return Status.AMBIGUOUS
    return Status.ACCEPTED


def _reason(checks: list[Check]) -> str:
    failed = [check for check in checks if not check.passed]
    if not failed:
        return "every check passed"
    return "; ".join(_told(check) for check in failed)


def _told(check: Check) -> str:
    """A failed check in words."""
    if check.name in IN_WORDS:
        return f"{IN_WORDS[check.name]} ({check.name} {check.value:.3g}, limit {check.limit:.3g})"
    return f"{check.name}: {check.meaning} is {check.value:.3g}, limit {check.limit:.3g}"


def _at_least(name: str, value: float, limit: float, meaning: str) -> Check:
    return Check(name, float(value), limit, bool(value >= limit), meaning)


def _at_most(name: str, value: float, limit: float, meaning: str) -> Check:
    return Check(name, float(value), limit, bool(value <= limit), meaning)


def _shortest_distance(structure: Structure) -> float:
    """Smallest distance between two sites over the sum of their covalent radii."""
    radii = np.array([float(Element(site.specie.symbol).atomic_radius or 1.5) for site in structure])
    distances = structure.distance_matrix + np.diag(np.full(len(structure), np.inf))
    own = min(structure.lattice.a, structure.lattice.b) / (2 * radii.min())
    pairs = float((distances / (radii[:, None] + radii[None, :])).min()) if len(structure) > 1 else np.inf
    return min(own, pairs)
