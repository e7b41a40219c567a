r"""Which atoms are in which column: every plausible filling, scored by the linear model.

Strengths propose: a filling costs the squared difference of each column's strength from that of its atoms, and the
fillings of least cost that have the composition asked for come from dynamic programming over the columns. The
coefficients dispose: each filling's waves are fitted to them with amplitude, damping and transfer corrections free.
What no image can say (how densely layers are packed, whether charges balance) is kept apart as a log prior.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from jaxtyping import Float
from pymatgen.core import Composition, Element

from microscopy.linear import scattering
from microscopy.micrograph import Modality
from reconstruction.deconvolution import Deconvolution
from reconstruction.hypotheses import TEMPERATURE
from reconstruction.registration import TRANSFER_SIGMA, TRANSFER_TERMS, transfer_basis

MOST_STACKED = 6
FIRST_COLUMN = 4
"""Atoms of one column: no common layer has more above one another; and of the strongest column where the stoichiometry
is open."""

RELATIVE_ERROR = 0.1
ABSOLUTE_ERROR = 0.25
"""Error of a column's strength before species are known: relative, and in units of the lightest atom."""

COSTLIEST = 12.0
WAYS = 24
"""Cost (half squared standard deviations) beyond which a way to fill a column is left out, and ways kept of each."""

BEAM = 20
TRIED = 1500
"""Partial fillings kept for each composition so far, and fillings whose likelihood is computed."""

PER_ATOM = 0.2
"""Cost of an atom, so that a sum of light ones does not stand for every heavy one."""

SAME_SCALE = 0.06
"""Relative difference of scales that propose the same fillings."""

COVERAGE, COVERAGE_SPREAD, COVERAGES = 1.02, 0.51, (0.3, 4.0)
"""Area of the atoms' covalent discs over that of the cell: median and standard deviation of the logarithm over the
monolayers of 2DMatPedia, and the range that is tried (its 1 % and 99 % quantiles)."""

BALANCED = 3.0
"""What a composition without balanced charges loses in log prior, where the composition is not given."""

SIMPLE = 1.0
"""What every further kind of column loses in log prior."""

FEW = 0.5
"""What every atom loses in log prior: sums of more atoms meet any strength more easily."""

DAMPING_STEP = 0.3
"""Å², prior standard deviation of the change of damping from the columns' fit."""

SPLIT_SIGNIFICANCE = 0.06
"""Å², anisotropy of a column's width above which its atoms stand side by side."""


@dataclass(frozen=True, eq=False)
class Assignment:
    """Atomic numbers in each column (none: the column is no atom), its log likelihood and its log prior."""

    columns: tuple[tuple[int, ...], ...]
    log_likelihood: float
    log_prior: float

    @property
    def merit(self) -> float:
        """Log posterior up to a constant."""
        return self.log_likelihood / TEMPERATURE + self.log_prior

    @property
    def composition(self) -> Composition:
        """What the cell holds."""
        numbers = [chemical_symbols[z] for column in self.columns for z in column]
        return Composition({symbol: numbers.count(symbol) for symbol in sorted(set(numbers))})


def assign(
    found: Deconvolution, elements: Sequence[int], formula: Mapping[int, int] | None, modality: Modality, keep: int
) -> list[Assignment]:
    """Fill the columns with atoms, best first.

    Parameters
    ----------
    found
        The columns.
    elements
        Atomic numbers of the elements present, each at least once.
    formula
        Atoms of one formula unit by atomic number; None when only the elements are known.
    modality
        Decides how elements scatter.
    keep
        Number of fillings returned.
    """
    if not len(found.strengths):
        return []
    strengths = _strengths(found, elements, modality)
    fillings: dict[tuple[tuple[int, ...], ...], float] = {}
    for scale, target in _scales(found, elements, formula, strengths):
        for cost, filling in _fill(found.strengths / scale, strengths, target, formula is not None):
            fillings[filling] = min(cost, fillings.get(filling, np.inf))
    area = abs(float(np.linalg.det(found.cell)))
    tried = sorted((f for f in fillings if _plausible(f, area)), key=lambda f: (fillings[f], f))[:TRIED]
    if not tried:
        return []
    gains = np.concatenate([_gains(found, elements, tried[i : i + 256], modality) for i in range(0, len(tried), 256)])
    ranked = [
        Assignment(columns, float(gain), _log_prior(columns, area, formula is not None))
        for columns, gain in zip(tried, gains, strict=True)
    ]
    return sorted(ranked, key=lambda each: -each.merit)[:keep]


def split(found: Deconvolution, column: int, atoms: int) -> Float[np.ndarray, "A 2"]:
    """Å from a column's centre to each of its atoms, from the anisotropy of its width."""
    values, vectors = np.linalg.eigh(found.widths[column])
    excess = float(values[1] - values[0])
    if atoms < 2 or excess < SPLIT_SIGNIFICANCE:
        return np.zeros((atoms, 2))
    # Two equal atoms a distance d apart scatter as cos(π g d) ≈ exp(−(π g d)²/2).
    length = np.sqrt(2 * excess) / np.pi
    return np.asarray(np.linspace(-0.5, 0.5, atoms)[:, None] * length * vectors[:, 1])


def _strengths(found: Deconvolution, elements: Sequence[int], modality: Modality) -> dict[int, float]:
    """Strength of one atom of each element in units of the mean shape, as the weighted coefficients see it."""
    q = np.linalg.norm(found.g, axis=1)
    factors = np.abs(scattering(np.array(elements), q, modality))
    weight = found.weights * (found.seen * found.shape) ** 2
    ratio = (factors / np.abs(found.shape)) @ weight / weight.sum()
    return dict(zip(elements, (float(r) for r in ratio), strict=True))


def _scales(
    found: Deconvolution,
    elements: Sequence[int],
    formula: Mapping[int, int] | None,
    strengths: Mapping[int, float],
) -> Iterator[tuple[float, dict[int, int]]]:
    """Strength in the image of one unit of scattering, with the atoms that the cell then holds (formula given)."""
    area = abs(float(np.linalg.det(found.cell)))
    if formula is not None:
        disc = _disc([e for e, n in formula.items() for _ in range(n)])
        least, most = (c * area / disc for c in COVERAGES)
        for z in range(max(1, int(np.ceil(least))), int(most) + 1):
            target = {e: z * n for e, n in formula.items()}
            yield float(found.strengths.sum()) / sum(n * strengths[e] for e, n in target.items()), target
        return
    once = dict.fromkeys(elements, 1)
    last = 0.0
    for scattering_power in sorted(sum(strengths[e] for e in m) for m in _multisets(elements, FIRST_COLUMN)):
        if scattering_power > last * (1 + SAME_SCALE):
            last = scattering_power
            yield float(found.strengths[0]) / scattering_power, once


def _disc(atoms: Sequence[int]) -> float:
    """Area of the covalent discs of atoms, Å²."""
    return float(np.pi * (covalent_radii[list(atoms)] ** 2).sum())


def _plausible(filling: Sequence[tuple[int, ...]], area: float) -> bool:
    disc = _disc([z for column in filling for z in column])
    return COVERAGES[0] <= disc / area <= COVERAGES[1]


def _multisets(elements: Sequence[int], most: int) -> list[tuple[int, ...]]:
    return [m for n in range(1, most + 1) for m in itertools.combinations_with_replacement(sorted(elements), n)]


def _fill(
    measured: np.ndarray, strengths: Mapping[int, float], target: Mapping[int, int], exact: bool
) -> list[tuple[float, tuple[tuple[int, ...], ...]]]:
    """Fillings of least cost, with it, that hold the target exactly, or each of its elements at least once."""
    elements = sorted(strengths)
    wanted = tuple(target[e] for e in elements)
    options: list[tuple[tuple[int, ...], float, tuple[int, ...]]] = [((), 0.0, (0,) * len(elements))]
    options += [
        (m, sum(strengths[e] for e in m), tuple(m.count(e) for e in elements))
        for m in _multisets(elements, MOST_STACKED)
        if not exact or all(m.count(e) <= target[e] for e in elements)
    ]
    lightest = min(strengths.values())
    predicted = np.array([option[1] for option in options])
    partial: dict[tuple[int, ...], list[tuple[float, tuple[int, ...]]]] = {(0,) * len(elements): [(0.0, ())]}
    for strength in measured:
        sigma = np.hypot(RELATIVE_ERROR * strength, ABSOLUTE_ERROR * lightest)
        costs = 0.5 * ((strength - predicted) / sigma) ** 2
        costs = costs + PER_ATOM * np.array([len(option[0]) for option in options])
        allowed = np.argsort(costs, kind="stable")[:WAYS]
        allowed = allowed[costs[allowed] < COSTLIEST]
        grown: dict[tuple[int, ...], list[tuple[float, tuple[int, ...]]]] = {}
        for held, chains in partial.items():
            for index in allowed:
                total = tuple(a + b for a, b in zip(held, options[index][2], strict=True))
                if exact and any(t > w for t, w in zip(total, wanted, strict=True)):
                    continue
                key = total if exact else tuple(min(t, w) for t, w in zip(total, wanted, strict=True))
                grown.setdefault(key, []).extend((cost + costs[index], (*chain, int(index))) for cost, chain in chains)
        partial = {key: sorted(chains)[:BEAM] for key, chains in grown.items()}
    return [(cost, tuple(options[index][0] for index in chain)) for cost, chain in partial.get(wanted, [])]


def _gains(
    found: Deconvolution, elements: Sequence[int], fillings: Sequence[Sequence[tuple[int, ...]]], modality: Modality
) -> np.ndarray:
    """Log likelihood of each filling over that of noise, amplitude, damping and transfer fitted, shape (A,)."""
    q = np.linalg.norm(found.g, axis=1)
    factors = dict(zip(elements, scattering(np.array(elements), q, modality), strict=True))
    centres = np.exp(-2j * np.pi * found.positions @ found.g.T) * found.seen
    spread = [
        {n: np.cos(2 * np.pi * split(found, j, n) @ found.g.T).mean(axis=0) for n in range(2, MOST_STACKED + 1)}
        for j in range(len(centres))
    ]
    models = np.zeros((len(fillings), len(q)), dtype=complex)
    for a, filling in enumerate(fillings):
        for j, column in enumerate(filling):
            if column:
                models[a] += sum(factors[z] for z in column) * spread[j].get(len(column), 1.0) * centres[j]
    basis = transfer_basis(q, float(q.max()))
    shapes = np.concatenate([np.ones((1, len(q))), -(q**2)[None], basis])
    power = found.weights * np.abs(models) ** 2
    overlap = found.weights * np.real(found.coefficients.conj() * models)
    normal = np.einsum("ik,ak,jk->aij", shapes, power, shapes)
    right = overlap @ shapes.T
    amplitude = np.maximum(right[:, 0] / normal[:, 0, 0], 1e-12)
    prior = np.array([0.0, DAMPING_STEP**-2, *[TRANSFER_SIGMA**-2] * TRANSFER_TERMS])
    normal = normal + (prior / amplitude[:, None] ** 2)[:, :, None] * np.eye(len(prior))
    solution = np.linalg.solve(normal, right[:, :, None])[:, :, 0]
    return np.where(right[:, 0] > 0, np.einsum("ai,ai->a", right, solution), 0.0)


def _log_prior(columns: Sequence[tuple[int, ...]], area: float, known: bool) -> float:
    """Log prior of a filling: packing, few atoms and kinds of columns, balanced charges where no formula is given."""
    atoms = [z for column in columns for z in column]
    packing = -0.5 * (np.log(_disc(atoms) / area / COVERAGE) / COVERAGE_SPREAD) ** 2
    kinds = len({tuple(sorted(column)) for column in columns if column})
    return float(packing) - SIMPLE * kinds - FEW * len(atoms) - (0.0 if known or _balances(atoms) else BALANCED)


def _balances(atoms: Sequence[int]) -> bool:
    """Whether each element can take one common oxidation state so that the charges add up to zero."""
    numbers = sorted(set(atoms))
    if len(numbers) == 1:
        return True
    states = [Element.from_Z(z).common_oxidation_states for z in numbers]
    counts = [atoms.count(z) for z in numbers]
    return any(sum(n * q for n, q in zip(counts, choice, strict=True)) == 0 for choice in itertools.product(*states))
