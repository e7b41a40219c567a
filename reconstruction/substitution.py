"""Materials that no library holds: known structures with the elements that the user gave.

Most monolayers are isostructural with others. Every structure with as many elements, in every assignment that the
formula allows, is laid on the lattice of the image: its cell takes the shape that the image has, its fingerprint is
compared there, and the most alike are registered, their sites refined. What the image cannot say — which of several
heights, how plausible the bonds — is a prior: bond lengths relative to those of the known structure, and how many
known structures agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations

import numpy as np
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from jaxtyping import Float, Int
from pymatgen.core import Composition, Lattice, Structure

from library.fingerprint import REFERENCE_OPTICS, nodes, powder_pattern
from library.geometry import site_radii
from library.records import Template
from library.store import Library
from microscopy.linear import plane_waves, scattering, transfer
from microscopy.micrograph import Modality
from microscopy.slab import plane_cell
from reconstruction.alignment import align, alignments
from reconstruction.distortion import GUESS
from reconstruction.hypotheses import Proposal, from_middle, log_posterior, register
from reconstruction.measurement import Measurement
from reconstruction.query import image_fingerprint
from reconstruction.records import Candidate
from reconstruction.refinement import with_sites_freed

STRETCH = 0.15
"""Largest difference of a cell from the known structure's, once that is scaled by the sizes of the atoms."""

SHAPES = 3
"""Ways of laying a cell on the lattice that are compared, of each structure."""

REGISTERED = 60
REFINED = 24
"""Hypotheses whose registration, and whose sites, are refined."""

SAME_PATTERN = 0.999
SAME_HEIGHT = 0.2
"""Fingerprint on one lattice, and rms difference of heights in Å, within which two hypotheses are one."""

BOND_SIGMA = 0.06
"""Relative standard deviation of a bond length that atoms' radii predict from a compound of the same structure."""


UNBALANCED = 0.2
"""How much less likely a stoichiometry is whose usual oxidation states do not balance."""

MOST_IONS = -1
"""Oxidation states are guessed for the reduced formula, one state per element."""


@dataclass(frozen=True, eq=False)
class _Trial:
    """A known structure with other elements, on the lattice of the image: not yet a structure, for there are thousands.

    ``cell`` rows a, b of the cell laid on the image's lattice; ``scale`` its size over the known structure's; ``count``
    the known structures that say the same.
    """

    template: Template
    numbers: Int[np.ndarray, " N"]
    scale: float
    pattern: Float[np.ndarray, " D"]
    score: float
    count: int = 1

    @property
    def heights(self) -> Float[np.ndarray, " N"]:
        """Distances from the middle plane, Å, by element and size: what two projections alike may differ in."""
        return from_middle(self.template.structure.cart_coords[:, 2] * self.scale, self.numbers.tolist())

    def structure(self) -> Structure:
        """The slab, scaled alike in all directions: the shape of the image's cell is met on registration."""
        known = self.template.structure
        matrix = known.lattice.matrix.copy()
        matrix[:2] *= self.scale
        middle = matrix[2, 2] / 2
        coords = known.cart_coords * self.scale
        coords[:, 2] += middle - (coords[:, 2].max() + coords[:, 2].min()) / 2
        species = [chemical_symbols[number] for number in self.numbers]
        lattice = Lattice(matrix, pbc=(True, True, False))
        return Structure(lattice, species, coords, coords_are_cartesian=True)


def substitutions(
    measurement: Measurement,
    library: Library,
    rows: Iterable[int],
    modality: Modality,
    elements: Iterable[str] | None,
    formula: str | None,
) -> list[Candidate]:
    """Register known structures with the elements or formula given.

    Parameters
    ----------
    measurement
        The image's coefficients.
    library, rows
        Known structures, and which of them may be used.
    modality
        Of the image.
    elements, formula
        What the user knows; one of them.

    Returns
    -------
    Candidates with the origin ``"substitution"``, in no order; compositions that the library itself holds included.
    """
    query = image_fingerprint(measurement)
    trials: list[_Trial] = []
    for row in rows:
        template = library.template(int(row))
        for trial in _trials(template, measurement, query, modality, elements, formula):
            trials.append(trial)
    proposals = []
    for trial in _distinct(sorted(trials, key=lambda each: -each.score)):
        structure = trial.structure()
        found = align(structure, measurement, STRETCH, modality is Modality.UNKNOWN)
        if found:
            prior = bond_prior(structure, trial.template.structure) + np.log(trial.count)
            if formula is None:
                prior += charge_prior(str(structure.composition.reduced_formula))
            proposals.append(
                Proposal(trial.template, structure, "substitution", trial.score, found, GUESS, float(prior))
            )
    proposals.sort(key=lambda each: -each.alignments[0].gain)
    candidates = sorted(register(proposals, measurement), key=log_posterior, reverse=True)
    return [with_sites_freed(each, measurement) for each in candidates[:REFINED]]


def bond_prior(structure: Structure, known: Structure) -> float:
    """Log prior of a substituted slab: nearest distances over the sums of radii, against those of the known slab."""
    ratio = _contacts(structure) / _contacts(known)
    return float(-0.5 * np.mean((np.log(ratio) / BOND_SIGMA) ** 2))


@lru_cache(maxsize=4096)
def charges_balance(formula: str) -> bool:
    """Whether usual oxidation states of its elements balance in a stoichiometry; they do in an element."""
    composition = Composition(formula)
    return len(composition) == 1 or bool(composition.oxi_state_guesses(max_sites=MOST_IONS))


def charge_prior(formula: str) -> float:
    """Log prior of a stoichiometry."""
    return 0.0 if charges_balance(formula) else float(np.log(UNBALANCED))


def _contacts(structure: Structure) -> Float[np.ndarray, " N"]:
    """Shortest distance of each site over the sum of the two covalent radii."""
    radii = site_radii(structure)
    i, j, _, distance = structure.get_neighbor_list(3.0 * float(radii.max()), exclude_self=True)
    nearest = np.full(len(structure), 2.0)
    np.minimum.at(nearest, i, distance / (radii[i] + radii[j]))
    return nearest


def _trials(
    template: Template,
    measurement: Measurement,
    query: np.ndarray,
    modality: Modality,
    elements: Iterable[str] | None,
    formula: str | None,
) -> Iterator[_Trial]:
    """Every assignment of elements and every shape of one known structure."""
    known = template.structure
    present, which, counts = np.unique(np.array(known.atomic_numbers), return_inverse=True, return_counts=True)
    assigned = list(assignments(counts, elements, formula))
    if not assigned:
        return
    cell = plane_cell(known)
    laid: dict[float, list[np.ndarray]] = {}
    seen: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
    for given in assigned:
        numbers = np.array([atomic_numbers[symbol] for symbol in given])
        if np.array_equal(numbers, present):
            continue  # the known structure itself
        size = round(float(counts @ covalent_radii[numbers] / (counts @ covalent_radii[present])), 2)
        if size not in laid:
            laid[size] = _shapes(cell * size, measurement.lattice.vectors)
        for shape in laid[size]:
            key = np.round(shape, 6).tobytes()
            if key not in seen:
                seen[key] = _roles(known, which, shape, modality, measurement.q_max)
            q, roles = seen[key]
            pattern = powder_pattern(q, np.abs((scattering(numbers, q, modality) * roles).sum(axis=0)) ** 2)
            scale = float(np.sqrt(abs(np.linalg.det(shape) / np.linalg.det(cell))))
            yield _Trial(template, numbers[which], scale, pattern, float(pattern @ query))


def _roles(
    known: Structure, which: np.ndarray, shape: np.ndarray, modality: Modality, q_max: float
) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies of a cell's nodes, 1/Å, and what each role's sites add there per unit scattering, shape (E, K)."""
    indices = nodes(shape, q_max)
    g = indices @ np.linalg.inv(shape).T
    waves = plane_waves(known.frac_coords[:, :2], indices)
    roles = np.zeros((int(which.max()) + 1, len(indices)), dtype=complex)
    np.add.at(roles, which, waves)
    return np.linalg.norm(g, axis=1), roles * transfer(g, REFERENCE_OPTICS[modality])


def assignments(
    counts: Int[np.ndarray, " E"], elements: Iterable[str] | None, formula: str | None
) -> Iterator[tuple[str, ...]]:
    """Elements for the roles of a known structure, ``counts`` sites each, that what the user knows allows."""
    if formula is not None:
        wanted = {str(element): n for element, n in Composition(formula).reduced_composition.items()}
        units = counts.sum() / sum(wanted.values())
        for given in permutations(sorted(wanted), len(counts)):
            if len(wanted) == len(counts) and np.allclose([wanted[symbol] * units for symbol in given], counts):
                yield given
    elif elements is not None and len(set(elements)) == len(counts):
        yield from permutations(sorted(set(elements)))


def _shapes(cell: np.ndarray, lattice: np.ndarray) -> list[np.ndarray]:
    """Cells nR of different metric within `STRETCH` of a cell, least deformed first."""
    found = alignments(cell, lattice, STRETCH) @ lattice
    if not len(found):
        return []
    stretch = np.linalg.svd(np.linalg.inv(cell) @ found, compute_uv=False)
    shapes: list[np.ndarray] = []
    for shape in found[np.argsort(np.abs(np.log(stretch)).max(axis=1), kind="stable")]:
        metric = shape @ shape.T
        if not any(np.allclose(metric, other @ other.T, rtol=1e-3, atol=1e-2) for other in shapes):
            shapes.append(shape)
            if len(shapes) == SHAPES:
                break
    return shapes


def _distinct(trials: list[_Trial]) -> list[_Trial]:
    """The most alike of each set of trials that say the same, with how many say it."""
    kept: list[_Trial] = []
    patterns = np.zeros((REGISTERED, len(trials[0].pattern))) if trials else np.zeros((0, 0))
    for trial in trials:
        same = np.flatnonzero(patterns[: len(kept)] @ trial.pattern > SAME_PATTERN)
        twin = next((index for index in same if _same(kept[index], trial)), None)
        if twin is not None:
            kept[twin] = replace(kept[twin], count=kept[twin].count + 1)
        elif len(kept) < REGISTERED:
            patterns[len(kept)] = trial.pattern
            kept.append(trial)
    return kept


def _same(first: _Trial, second: _Trial) -> bool:
    if not np.array_equal(np.sort(first.numbers), np.sort(second.numbers)):
        return False
    return float(np.sqrt(np.mean((first.heights - second.heights) ** 2))) < SAME_HEIGHT
