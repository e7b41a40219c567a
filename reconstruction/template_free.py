"""A crystal from its image and composition alone, for materials that no library holds.

1. Columns: peaks of unknown place, strength and width fitted to the coefficients (`deconvolution`).
2. Species: every plausible filling of the columns with atoms, scored by the linear model (`assignment`).
3. Heights: bond lengths and room between atoms, in cells up to twice the projection's (`heights`).
4. Each model is registered and refined on the image as a template would be, so that its likelihood can be compared
   with a template's. Layer group and the rest follow in `reconstruct`, as for every hypothesis.

What the image does not say is a log prior beside the likelihood, never in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase.data import atomic_numbers
from jaxtyping import Float, Int
from pymatgen.core import Composition, Element, Lattice, Structure

from library.fingerprint import fingerprint
from library.records import Template
from microscopy.micrograph import Micrograph, Modality
from microscopy.slab import VACUUM, slab
from reconstruction.alignment import align
from reconstruction.assignment import Assignment, assign, split
from reconstruction.deconvolution import Deconvolution, deconvolve
from reconstruction.distortion import TEMPLATE, CellPrior
from reconstruction.heights import Heights, find_heights
from reconstruction.hypotheses import TEMPERATURE, Proposal, hypothesise, log_posterior
from reconstruction.measurement import Measurement
from reconstruction.query import image_fingerprint
from reconstruction.records import Candidate
from reconstruction.refinement import SITE_PRIOR, refine_positions
from reconstruction.registration import ROTATIONS
from reconstruction.superstructure import superlattices

SUPERCELLS = (1, 2, 3, 4)
"""Sizes of the cell, in cells of the projection, that are tried until one holds whole formula units."""

PROPOSED = 6
"""Fillings whose heights are looked for."""

VARIANTS, WITH_ENERGY = 3, 8
"""Arrangements of heights kept of each filling, and among how many of them a potential chooses."""

UNLIKELY = 8.0
"""Log posterior below that of the best filling at which one is given up: more than any heights make up for."""

LEADING, ATOMS_DOUBLED = 2, 12
"""Only this many fillings, of at most so many atoms, are also tried in doubled cells."""

DOUBLED = 0.2
"""Misfit of bonds by which a doubled cell has to be better; with it, of 45 monolayers of 2DMatPedia (11 of them larger
than their projection) 31 are arranged rightly at first, 36 among three."""

BOND_WEIGHT = 4.0
"""Log prior lost per unit of the bonds' misfit: true layers have 0.1 to 0.4, impossible ones more than 1."""

ENERGY_SCALE = 0.05
"""eV/atom by which a potential's energies of unrelaxed models are trusted."""

STRAIN = 0.01
"""The model's cell is the image's; this only lets rounding through."""


def build_free(
    micrograph: Micrograph,
    measurement: Measurement,
    keep: int = 5,
    energy: Callable[[Structure], float] | None = None,
) -> list[Candidate]:
    """Models of the crystal without a template, likeliest first, as candidates without probabilities.

    Parameters
    ----------
    micrograph
        Its formula, or else its elements, say what the crystal is made of.
    measurement
        Its coefficients.
    keep
        Models returned, at most.
    energy
        eV of a slab, to choose between arrangements of heights; None goes by bond lengths alone.

    Returns
    -------
    Candidates with the origin ``"free"``; the log prior of chemistry and bonds is theirs. None when neither formula nor
    elements are known (an image in arbitrary units fixes the ratio of the scattering of its columns and nothing that
    names an element), or when no filling of the columns fits.
    """
    elements, formula = _known(micrograph)
    if not elements:
        return []
    modality = measurement.optics.modality
    found, assignments = _columns(measurement, elements, formula, modality, micrograph.modality is Modality.UNKNOWN)
    proposals = sorted(
        (
            proposal
            for rank, assignment in enumerate(assignments)
            for proposal in _with_heights(found, assignment, rank < LEADING, energy)
        ),
        key=lambda p: -(p.assignment.log_likelihood / TEMPERATURE + p.log_prior),
    )
    query = image_fingerprint(measurement)
    models: list[Candidate] = []
    for proposal in proposals[:keep]:
        # One image has one detector: the likeliest model, complete as it is, says best how that is turned.
        rotations = (models[0].detector_rotation,) if models else ROTATIONS
        candidate = _register(proposal.structure, measurement, found.sign, rotations)
        if candidate is not None:
            score = float(query @ fingerprint(candidate.structure, measurement.optics))
            models.append(replace(candidate, score=score, log_prior=candidate.log_prior + proposal.log_prior))
    if not models:
        return []
    # All are fillings of the same columns, whose places were free.
    cells = abs(float(np.linalg.det(models[0].cell) / np.linalg.det(found.cell)))
    freedom = refine_positions(models[0], measurement, SITE_PRIOR).freedom / cells
    paid = [replace(model, log_prior=model.log_prior - freedom) for model in models]
    return sorted(paid, key=log_posterior, reverse=True)


@dataclass(frozen=True, eq=False)
class _Model:
    """A filling of the columns with heights, and the log prior of both."""

    structure: Structure
    assignment: Assignment
    log_prior: float


def _known(micrograph: Micrograph) -> tuple[tuple[int, ...], dict[int, int] | None]:
    """Atomic numbers, and atoms per formula unit, that the user gave."""
    if micrograph.formula:
        composition = Composition(micrograph.formula).element_composition
        reduced, _ = composition.get_integer_formula_and_factor()
        counts = {atomic_numbers[e.symbol]: round(n) for e, n in Composition(reduced).items()}
        return tuple(sorted(counts)), counts
    return tuple(sorted(atomic_numbers[symbol] for symbol in micrograph.elements or ())), None


def _columns(
    measurement: Measurement,
    elements: Sequence[int],
    formula: dict[int, int] | None,
    modality: Modality,
    sign_free: bool,
) -> tuple[Deconvolution, list[Assignment]]:
    """Columns and their fillings in the smallest cell that can be filled."""
    for index in SUPERCELLS:
        for matrix in superlattices(index):
            signs = (1.0, -1.0) if sign_free else (1.0,)
            found = min((deconvolve(measurement, elements, matrix, sign) for sign in signs), key=lambda d: d.chi2)
            assignments = assign(found, elements, formula, modality, PROPOSED)
            if assignments:
                return found, [each for each in assignments if each.merit > assignments[0].merit - UNLIKELY]
    return found, []


def _with_heights(
    found: Deconvolution, assignment: Assignment, doubled: bool, energy: Callable[[Structure], float] | None
) -> list[_Model]:
    """The models of one filling with its best arrangements of heights."""
    positions, numbers = [], []
    for j, column in enumerate(assignment.columns):
        positions.append(found.positions[j] + split(found, j, len(column)))
        numbers += list(column)
    base, kinds = np.vstack(positions), np.array(numbers)
    arrangements: list[tuple[float, Heights, np.ndarray, np.ndarray, np.ndarray]] = []
    for index in (1, 2) if doubled and len(kinds) <= ATOMS_DOUBLED else (1,):
        for matrix in superlattices(index):
            cell = matrix @ found.cell
            moves = np.array([(i, j) for i in range(matrix[0, 0]) for j in range(matrix[1, 1])]) @ found.cell
            sites = (base[None] + moves[:, None]).reshape(-1, 2)
            species = np.tile(kinds, len(moves))
            for heights in find_heights(sites, cell, species, VARIANTS):
                arrangements.append((heights.misfit + DOUBLED * (index - 1), heights, cell, sites, species))
    arrangements.sort(key=lambda each: each[0])
    proposals = [
        _Model(raised(cell, sites, species, heights.z), assignment, assignment.log_prior - BOND_WEIGHT * misfit)
        for misfit, heights, cell, sites, species in arrangements[: VARIANTS if energy is None else WITH_ENERGY]
    ]
    return proposals if energy is None else _by_energy(proposals, energy)[:VARIANTS]


def _by_energy(proposals: list[_Model], energy: Callable[[Structure], float]) -> list[_Model]:
    """The same with a potential's energies in place of differences between misfits."""
    energies = np.array([energy(p.structure) / len(p.structure) for p in proposals])
    best = max(p.log_prior for p in proposals)
    priors = best - (energies - energies.min()) / ENERGY_SCALE
    judged = [replace(p, log_prior=float(prior)) for p, prior in zip(proposals, priors, strict=True)]
    return sorted(judged, key=lambda p: -p.log_prior)


def raised(
    cell: Float[np.ndarray, "2 2"],
    positions: Float[np.ndarray, "N 2"],
    numbers: Int[np.ndarray, " N"],
    z: Float[np.ndarray, " N"],
) -> Structure:
    """Slab of a projection, positions in Å and handedness kept, and heights in Å about the middle."""
    matrix = np.zeros((3, 3))
    matrix[:2, :2] = cell
    matrix[2, 2] = VACUUM + float(np.ptp(z))
    frac = np.column_stack([positions @ np.linalg.inv(cell), 0.5 + z / matrix[2, 2]])
    return slab(Structure(Lattice(matrix), [Element.from_Z(int(n)) for n in numbers], frac))


def _register(
    structure: Structure, measurement: Measurement, sign: float, rotations: Sequence[float | None]
) -> Candidate | None:
    """Refine a model's positions on the image and register the result, as a template is."""
    candidate = registered(structure, measurement, rotations, STRAIN, sign < 0)
    if candidate is None:
        return None
    refined = refine_positions(candidate, measurement).frac
    moved = np.column_stack([refined, candidate.structure.frac_coords[:, 2]])
    improved = slab(Structure(structure.lattice, structure.species, moved))
    better = registered(improved, measurement, (candidate.detector_rotation,), STRAIN, sign < 0)
    return better if better is not None and better.log_likelihood > candidate.log_likelihood else candidate


def registered(
    structure: Structure,
    measurement: Measurement,
    rotations: Sequence[float | None],
    strain: float,
    sign_free: bool,
    cell_prior: CellPrior = TEMPLATE,
    source: str = "image",
) -> Candidate | None:
    """A structure that no library holds, as it lies on the image; None where it does not fit within the strain."""
    alignments = align(structure, measurement, strain, sign_free)
    if not alignments:
        return None
    template = Template("", structure, structure.composition.reduced_formula, source)
    return hypothesise(Proposal(template, structure, "free", 0.0, alignments, cell_prior), measurement, rotations)
