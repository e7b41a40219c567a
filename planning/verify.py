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
from models.relaxation.moved import moved
from planning.ambiguity import remedy
from planning.confidence import confidence, moves
from planning.limits import LIMITS, STRAIN_OF_A_GUESS, check, deciding
from planning.records import Check, Status, Verdict
from reconstruction.cif import releasable
from reconstruction.distortion import deformation
from reconstruction.hypotheses import lead, lead_over_known
from reconstruction.records import Candidates, Reconstruction
from reconstruction.substitution import charges_balance

REJECTING = frozenset({"lattice", "one_lattice"})
"""Without these there is no answer to give."""

UNLIKE = 0.85
"""Correlation below which the image shows something else."""

HOPELESS_CONFIDENCE = 0.02
"""Below, the best that was found is not worth calling likely."""

ACCEPTED_CONFIDENCE = 0.8
"""Below, an answer that passes every check is still called ambiguous."""

SINGLE = 0.9
"""So is one with a smaller share of the reflected power on its lattice: right answers that pass every check have 0.93
and more, an image of which a second grain covers a third 0.88."""


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
            checks.append(check("template", 0.0))
        return Verdict(tuple(checks), 0.0, Status.REJECTED, _reason(checks))
    checks += _image_checks(candidates, reconstruction)
    checks += _composition_checks(micrograph, reconstruction)
    if relaxation is not None:
        checks += _energy_checks(reconstruction, relaxation)
    probability = confidence(micrograph, candidates, reconstruction)
    on_lattice = candidates.lattice.share if candidates.lattice is not None else 1.0
    status = _status(checks, reconstruction, probability, on_lattice)
    reason = _reason(checks)
    if status is Status.AMBIGUOUS:
        if not deciding(checks) and on_lattice < SINGLE:
            reason = f"every check passed, but {1 - on_lattice:.0%} of the reflected power is on no lattice or another"
        elif not deciding(checks):
            reason = f"every check passed, but of answers like this only {probability:.0%} are right"
        elif any(each.name == "margin" and not each.passed for each in checks):
            wanted = LIMITS["margin"].value
            reason = "; ".join(filter(None, (reason, remedy(micrograph, candidates, reconstruction.candidate, wanted))))
    return Verdict(tuple(checks), probability, status, reason)


def _lattice_checks(candidates: Candidates) -> list[Check]:
    lattice = candidates.lattice
    if lattice is None:
        return [check("lattice", 0.0)]
    return [check("lattice", lattice.significance), check("one_lattice", lattice.share)]


def _image_checks(candidates: Candidates, reconstruction: Reconstruction) -> list[Check]:
    candidate = reconstruction.candidate
    strain = deformation(plane_cell(candidate.structure), candidate.crystal)
    return [
        check("fit", candidate.correlation),
        check("residual", reconstruction.chi2),
        check("shift", float(moves(reconstruction).max())),
        check("strain", strain, None if candidate.origin == "template" else STRAIN_OF_A_GUESS),
        check("scan", deformation(candidate.crystal, candidate.cell)),
        check("distances", _shortest_distance(reconstruction.symmetrised)),
        check("superstructure", reconstruction.superstructure),
        check("margin", min(lead(candidates, candidate), lead_over_known(candidates, candidate), 1e6)),
    ]


def _composition_checks(micrograph: Micrograph, reconstruction: Reconstruction) -> list[Check]:
    """Whether such a compound can be, where none is known, and what the user said of the specimen, when anything."""
    composition = reconstruction.structure.composition
    checks = []
    if reconstruction.candidate.origin != "template" and not micrograph.formula:
        checks.append(check("charge", charges_balance(composition.reduced_formula)))
    if micrograph.formula:
        given = Composition(micrograph.formula).reduced_formula
        checks.append(check("elements", composition.reduced_formula == given))
    elif micrograph.elements:
        checks.append(check("elements", {str(each) for each in composition.elements} == set(micrograph.elements)))
    return checks


def _energy_checks(reconstruction: Reconstruction, relaxation: Relaxation) -> list[Check]:
    before, errors = reconstruction.symmetrised, reconstruction.position_errors
    evidence = moved(before, relaxation.structure, errors, reconstruction.lattice_errors)
    checks = [
        check("relaxation", not relaxation.converged),
        check("displacement", float(relaxation.displacements.max())),
        check("relaxed_strain", float(np.abs(relaxation.strain[:2]).max())),
        check("moved", evidence.chi2_per_coordinate),
    ]
    if relaxation.formation_energy_per_atom is not None:
        checks.append(check("energy", relaxation.formation_energy_per_atom))
    return checks


def _status(checks: list[Check], reconstruction: Reconstruction, probability: float, on_lattice: float) -> Status:
    failed = {each.name for each in deciding(checks)}
    fit = reconstruction.candidate.correlation
    unlike = fit < UNLIKE or (not LIMITS["fit"].passes(fit) and probability < HOPELESS_CONFIDENCE)
    if failed & REJECTING or unlike or not releasable(reconstruction.symmetrised):
        return Status.REJECTED
    if failed or probability < ACCEPTED_CONFIDENCE or on_lattice < SINGLE:
        return Status.AMBIGUOUS
    return Status.ACCEPTED


def _reason(checks: list[Check]) -> str:
    failed = deciding(checks)
    if not failed:
        return "every check passed"
    return "; ".join(_told(each) for each in failed)


def _told(failed: Check) -> str:
    """A failed check in words."""
    if failed.name in IN_WORDS:
        return f"{IN_WORDS[failed.name]} ({failed.name} {failed.value:.3g}, limit {failed.limit:.3g})"
    return f"{failed.name}: {failed.meaning} is {failed.value:.3g}, limit {failed.limit:.3g}"


def _shortest_distance(structure: Structure) -> float:
    """Smallest distance between two sites over the sum of their covalent radii."""
    radii = np.array([float(Element(site.specie.symbol).atomic_radius or 1.5) for site in structure])
    distances = structure.distance_matrix + np.diag(np.full(len(structure), np.inf))
    own = min(structure.lattice.a, structure.lattice.b) / (2 * radii.min())
    pairs = float((distances / (radii[:, None] + radii[None, :])).min()) if len(structure) > 1 else np.inf
    return min(own, pairs)
