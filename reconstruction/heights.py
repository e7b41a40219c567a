r"""Heights of the atoms of a layer from its projection: bonds of the right length, and room for everything else.

In-plane positions are known, so that a layer of N atoms has N unknown heights. They minimise, per atom,

.. math:: E = \frac1N \sum_i \Bigl(\frac{\sum_j s_{ij} - V_i}{V_i}\Bigr)^2
          + \frac{w}{N} \sum_{ij} e^{(d_{ij}^0 - d_{ij})/\lambda},

bond valences :math:`s = e^{(R_{ij} - d)/0.37}` [1]_ over bonded pairs of unlike charge (any where there are no
charges) and a repulsion between all. Little is added for thickness and for every distinct height, as most layers are
thin and symmetric. Many random starts are relaxed together; what remains distinct is ranked by E.
The image says nothing of this: heights are inferred, and only as good as these rules.

References
----------
.. [1] O'Keeffe and Brese, J. Am. Chem. Soc. 113 (1991) 3226; parameters as in pymatgen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from ase.data import covalent_radii
from jaxtyping import Float, Int
from pymatgen.core import Composition, Element

from library.geometry import BOND_FACTOR

SOFTNESS = 0.37
"""Å, of bond valence against length."""

TOLERANCE = 0.06
"""Relative error of a sum of bond valences that says nothing: graphene, flat, has 0.04."""

SWITCH = 0.1
"""Å, width of the end of bonding at `BOND_FACTOR` times the sum of covalent radii: second neighbours add none."""

FAR = 100.0
"""Å, where nothing acts."""

LIKE_DISTANCE = {True: 0.7, False: 0.0}
"""Å by which atoms of like charge stay farther apart than covalent radii: anions, and cations."""

REPULSION, REPULSION_LENGTH = 0.05, 0.25
"""Weight w, and λ in Å, of the repulsion."""

OVERLAP = 0.75
"""Of the sum of covalent radii: no two atoms are nearer."""

STARTS = 96
STEPS = 160
RATE = 0.12
"""Random starts, and steps and first step length in Å of their descent (Adam, Kingma and Ba 2015)."""

THICKNESS = 24.0
"""Å³ per atom: area times the spread of starting heights."""

LEVEL, LEVEL_WIDTH = 0.1, 0.15
"""Cost of each distinct distance from the middle, per cell, and Å within which distances are one: layers are symmetric
more often than bond lengths alone would have them."""

SNAP = 0.3
"""Å. Every arrangement is also tried with distances from the middle that differ by less made equal."""

THIN = 0.1
"""Cost per Å of the standard deviation of heights: what holds a layer together also keeps it thin."""

DISTINCT = 0.3
"""Å, largest difference of heights within one arrangement."""


@dataclass(frozen=True, eq=False)
class Heights:
    """Heights in Å about the middle, shape (N,), and the misfit E of their bonds."""

    z: Float[np.ndarray, " N"]
    misfit: float


def find_heights(
    positions: Float[np.ndarray, "N 2"],
    cell: Float[np.ndarray, "2 2"],
    numbers: Int[np.ndarray, " N"],
    keep: int = 3,
    seed: int = 0,
) -> list[Heights]:
    """Distinct arrangements of heights, the best bonded first.

    Parameters
    ----------
    positions
        (x, y) in Å.
    cell
        Rows a, b as (x, y) in Å.
    numbers
        Atomic numbers.
    keep
        Arrangements returned; turned over they are the same one.
    seed
        Of the starts.
    """
    bonds = _Bonds(positions, cell, numbers)
    area = abs(float(np.linalg.det(cell)))
    count = len(numbers)
    z = _starts(numbers, 0.5 * THICKNESS * count / area, np.random.default_rng(seed))
    first, second = np.zeros_like(z), np.zeros_like(z)
    for step in range(1, STEPS + 1):
        _, gradient = bonds.energy(z)
        first = 0.8 * first + 0.2 * gradient
        second = 0.95 * second + 0.05 * gradient**2
        moved = (first / (1 - 0.8**step)) / (np.sqrt(second / (1 - 0.95**step)) + 1e-3)
        z = z - RATE * (1 - step / (STEPS + 1)) * moved
    z = z - (z.max(axis=1, keepdims=True) + z.min(axis=1, keepdims=True)) / 2
    z = np.vstack([z, [_snapped(each) for each in z]])
    shape = np.array([LEVEL * _levels(each) for each in z]) / count + THIN * z.std(axis=1)
    energy = bonds.energy(z)[0] + shape
    found: list[Heights] = []
    for at in np.argsort(energy):
        if len(found) == keep:
            break
        if all(min(np.abs(z[at] - h.z).max(), np.abs(z[at] + h.z).max()) > DISTINCT for h in found):
            found.append(Heights(z[at], float(energy[at])))
    return found


def _starts(numbers: np.ndarray, spread: float, rng: np.random.Generator) -> np.ndarray:
    """Random heights, shape (STARTS, N): half of them with each element at one distance from the middle."""
    scale = spread * rng.uniform(0.1, 1.0, (STARTS, 1))
    z = rng.uniform(-1, 1, (STARTS, len(numbers))) * scale
    _, kind = np.unique(numbers, return_inverse=True)
    level = rng.uniform(0, 1, (STARTS, kind.max() + 1))[:, kind] * scale
    half = STARTS // 2
    z[:half] = level[:half] * rng.choice([-1, 1], (half, len(numbers)))
    # Nearly flat: what sheets of one atom are.
    z[0] = rng.normal(size=len(numbers)) * 0.01
    return z


def _levels(z: np.ndarray) -> int:
    """Number of distinct distances from the middle."""
    return 1 + int((np.diff(np.sort(np.abs(z))) > LEVEL_WIDTH).sum())


def _snapped(z: np.ndarray) -> np.ndarray:
    """Heights with distances from the middle that are nearly one made one, and small ones zero."""
    order = np.argsort(np.abs(z))
    group = np.concatenate([[0], np.cumsum(np.diff(np.abs(z)[order]) > SNAP)])
    level = (np.bincount(group, np.abs(z)[order]) / np.bincount(group))[group]
    snapped = np.empty_like(z)
    snapped[order] = np.where(level > SNAP, level, 0.0) * np.sign(z[order])
    return snapped


def charges(numbers: Sequence[int]) -> dict[int, float]:
    """Charge of each element: pymatgen's likeliest balanced one; all zero where there is none, or one element."""
    counts = {z: list(numbers).count(z) for z in set(numbers)}
    divisor = int(np.gcd.reduce(list(counts.values())))
    return _charges(tuple(sorted((z, n // divisor) for z, n in counts.items())))


@cache
def _charges(counts: tuple[tuple[int, int], ...]) -> dict[int, float]:
    neutral = {z: 0.0 for z, _ in counts}
    if len(counts) == 1:
        return neutral
    composition = Composition({Element.from_Z(z): n for z, n in counts})
    common = {e.symbol: e.common_oxidation_states for e in composition}
    guesses = composition.oxi_state_guesses(oxi_states_override=common)
    if not guesses:
        return neutral
    anion = max(composition, key=lambda e: e.X)
    # Where the most electronegative element is not fully reduced it is bonded to itself, and charges mean little.
    if guesses[0][anion.symbol] != min(anion.common_oxidation_states):
        return neutral
    return {z: float(guesses[0][Element.from_Z(z).symbol]) for z, _ in counts}


class _Bonds:
    """Pairs of one projection and the energy of heights."""

    def __init__(self, positions: np.ndarray, cell: np.ndarray, numbers: np.ndarray) -> None:
        q = charges(numbers.tolist())
        charge = np.array([q[int(z)] for z in numbers])
        self.valence = np.array([abs(q[int(z)]) or _valence(int(z)) for z in numbers])
        bonded = charge[:, None] * charge <= 0
        touching = covalent_radii[numbers][:, None] + covalent_radii[numbers]
        # Like charges have one sign, that of either.
        extra = np.where(charge < 0, LIKE_DISTANCE[True], LIKE_DISTANCE[False])[:, None]
        apart = np.where(bonded, OVERLAP * touching, touching + extra)
        length = np.array([[bond_length(int(a), int(b)) for b in numbers] for a in numbers])
        reach = np.maximum(np.where(bonded, BOND_FACTOR * touching + 4 * SWITCH, 0), apart + 4 * REPULSION_LENGTH)
        most = np.ceil(reach.max() * np.linalg.norm(np.linalg.inv(cell), axis=0)).astype(int) + 1
        shifts = np.array([(i, j) for i in range(-most[0], most[0] + 1) for j in range(-most[1], most[1] + 1)])
        delta = positions[None, :, None] + (shifts @ cell)[None, None] - positions[:, None, None]
        rho2 = (delta**2).sum(axis=-1)
        near = rho2 < reach[:, :, None] ** 2
        self.i, self.j, at = np.nonzero(near)
        # A site is no neighbour of its own, but the pair stays, far apart, so that every site has one.
        itself = (self.i == self.j) & ~shifts[at].any(axis=1)
        self.rho2 = np.where(itself, FAR**2, rho2[near])
        self.bonded, self.length, self.apart = (each[self.i, self.j] for each in (bonded, length, apart))
        self.limit = BOND_FACTOR * touching[self.i, self.j]
        self.first = np.searchsorted(self.i, np.arange(len(numbers)))

    def energy(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """E and its gradient, shape (S,) and (S, N), of S sets of heights."""
        count = z.shape[1]
        dz = z[:, self.i] - z[:, self.j]
        d = np.sqrt(self.rho2 + dz**2 + 1e-6)
        near = 1 / (1 + np.exp(np.clip((d - self.limit) / SWITCH, -30, 30)))
        s = np.where(self.bonded, near * np.exp(np.minimum((self.length - d) / SOFTNESS, 3.0)), 0.0)
        repelled = REPULSION * np.exp(np.minimum((self.apart - d) / REPULSION_LENGTH, 4.0))
        relative = (np.add.reduceat(s, self.first, axis=1) - self.valence) / self.valence
        excess = np.sign(relative) * np.maximum(np.abs(relative) - TOLERANCE, 0.0)
        energy = ((excess**2).sum(axis=1) + repelled.sum(axis=1)) / count
        strain = excess / self.valence
        softness = 1 / SOFTNESS + (1 - near) / SWITCH
        slope = -2 * ((strain[:, self.i] + strain[:, self.j]) * s * softness + repelled / REPULSION_LENGTH)
        return energy, np.add.reduceat(slope * dz / d, self.first, axis=1) / count


@cache
def bond_length(first: int, second: int) -> float:
    """Length in Å of a bond of valence one; the sum of covalent radii for elements outside the table."""
    from pymatgen.analysis.bond_valence import BV_PARAMS

    a, b = Element.from_Z(first), Element.from_Z(second)
    if a not in BV_PARAMS or b not in BV_PARAMS:
        return float(covalent_radii[first] + covalent_radii[second])
    (r1, c1), (r2, c2) = ((BV_PARAMS[e]["r"], BV_PARAMS[e]["c"]) for e in (a, b))
    return float(r1 + r2 - r1 * r2 * (np.sqrt(c1) - np.sqrt(c2)) ** 2 / (c1 * r1 + c2 * r2))


@cache
def _valence(number: int) -> float:
    """Number of bonds of an atom without charge: its lowest common oxidation state, 8 − N for non-metals."""
    states = [state for state in Element.from_Z(number).common_oxidation_states if state]
    return float(abs(min(states, default=2)))
