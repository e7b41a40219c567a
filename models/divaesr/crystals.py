"""From structures to a bank of crystals, with random ones among them.

Known materials teach what is common; crystals with random atoms on random lattices keep the network from believing in
them: it is to show what is in the image, whether or not anybody has seen it before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from pymatgen.core import Structure

from microscopy.linear import quadrant_transfer, scattering
from microscopy.micrograph import Modality
from microscopy.optics import Optics
from microscopy.slab import plane_cell
from models.divaesr.bank import Q_MAX, RANK, CrystalBank
from models.divaesr.configuration import PATTERNS

MAX_ATOMS = 24
"""Atoms per cell; larger cells are left out of training."""

RANDOM_SHARE = 0.35
"""Probability of drawing a random crystal."""

CLOSEST = 0.75
"""Å between projected atoms of a random crystal at least, unless they stack."""

LAST_ELEMENT = 92

_SYMMETRIC = 0.01
"""Relative difference of axes, and cosine, within which a lattice counts as more symmetric."""


def bank_of(structures: Sequence[Structure], random: int, seed: int) -> CrystalBank:
    """Make a bank.

    Parameters
    ----------
    structures
        Slabs (``microscopy.slab``). Structures of one stoichiometry and cell shape share their probability, so that
        a prototype with a hundred members does not crowd out one with two.
    random
        Number of random crystals added.
    seed
        Of the random crystals.

    Raises
    ------
    ValueError
        If no structure is small enough.
    """
    known = [s for s in structures if len(s) <= MAX_ATOMS]
    if not known:
        raise ValueError(f"no structure of at most {MAX_ATOMS} atoms to train on")
    cells = [plane_cell(s) for s in known]
    kinds = [(family(cell), *sorted(Counter(s.atomic_numbers).values())) for s, cell in zip(known, cells, strict=True)]
    members = Counter(kinds)
    chances = np.array([members[kind] ** -0.5 for kind in kinds])
    atoms = [(s.frac_coords[:, :2] % 1.0, np.array(s.atomic_numbers)) for s in known]
    rng = np.random.default_rng(seed)
    drawn = [_random_crystal(rng) for _ in range(random)]
    cells += [cell for cell, _, _ in drawn]
    atoms += [(fractions, numbers) for _, fractions, numbers in drawn]
    share = RANDOM_SHARE if random else 0.0
    chances = np.concatenate([chances / chances.sum() * (1 - share), np.full(random, share / max(random, 1))])
    most = max(len(numbers) for _, numbers in atoms)
    fractions, numbers = np.zeros((len(atoms), most, 2), np.float32), np.zeros((len(atoms), most), np.int64)
    for row, (f, n) in enumerate(atoms):
        fractions[row, : len(n)], numbers[row, : len(n)] = f, n
    basis, amplitudes = _scattering_basis()
    inner, outer = (angle / Optics().convergence_angle for angle in Optics().angles)
    return CrystalBank(
        cells=np.array(cells, np.float32),
        counts=np.array([len(n) for _, n in atoms], np.int64),
        fractions=fractions,
        numbers=numbers,
        patterns=np.array([PATTERNS.index(family(cell)) for cell in cells], np.int64),
        chances=chances.astype(np.float32),
        basis=basis,
        amplitudes=amplitudes,
        transfer=quadrant_transfer(inner, outer).astype(np.float32),
    )


def _scattering_basis() -> tuple[np.ndarray, np.ndarray]:
    """Scattering factors of all elements, by singular value decomposition."""
    q = np.linspace(0.0, Q_MAX, 121)
    table = scattering(np.arange(1, LAST_ELEMENT + 1), q, Modality.IDPC)
    left, values, right = np.linalg.svd(table, full_matrices=False)
    amplitudes = np.zeros((LAST_ELEMENT + 1, RANK))
    amplitudes[1:] = left[:, :RANK] * values[:RANK]
    return right[:RANK].astype(np.float32), amplitudes.astype(np.float32)


def family(cell: np.ndarray) -> str:
    """Crystal system of a plane lattice, rows a, b (rectangular includes centred rectangular): one of ``PATTERNS``."""
    reduced = _reduced(cell)
    a, b = np.linalg.norm(reduced, axis=1)
    cosine = abs(float(reduced[0] @ reduced[1]) / (a * b))
    equal = abs(a - b) < _SYMMETRIC * b
    if cosine < _SYMMETRIC:
        return "square" if equal else "rectangular"
    if equal:
        return "hexagonal" if abs(cosine - 0.5) < _SYMMETRIC else "rectangular"
    return "rectangular" if abs(cosine - 0.5 * a / b) < _SYMMETRIC else "oblique"


def _reduced(cell: np.ndarray) -> np.ndarray:
    """Gauss-reduced basis, shorter vector first."""
    a, b = sorted(np.asarray(cell, dtype=float), key=np.linalg.norm)
    while True:
        b = b - np.round(a @ b / (a @ a)) * a
        if np.linalg.norm(b) >= np.linalg.norm(a) * (1 - 1e-9):
            return np.stack([a, b])
        a, b = b, a


def _random_crystal(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cell, fractions and numbers: a few atoms, copied by a rotation of the lattice, none too close to another."""
    family = PATTERNS[rng.integers(4)]
    a = np.exp(rng.uniform(np.log(2.4), np.log(11.0)))
    b, angle, order = a, np.pi / 2, 2
    if family == "hexagonal":
        angle, order = np.pi / 3, int(rng.choice([1, 3]))
    elif family == "square":
        order = int(rng.choice([1, 2, 4]))
    else:
        b = a * np.exp(rng.uniform(0.05, 0.8))
        angle = np.pi / 2 if family == "rectangular" else np.deg2rad(rng.uniform(62, 87))
        order = int(rng.choice([1, 2]))
    cell = np.array([[a, 0.0], [b * np.cos(angle), b * np.sin(angle)]])
    turn = 2 * np.pi / order
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    wanted = max(1, min(12, round(abs(np.linalg.det(cell)) / rng.uniform(2.5, 9.0))))
    elements = rng.integers(3, 84, size=rng.integers(1, 4))
    sites: list[np.ndarray] = []
    numbers: list[int] = []
    for _ in range(8 * wanted):
        if len(sites) >= wanted:
            break
        point = rng.random(2) @ cell
        orbit = [point @ np.linalg.matrix_power(rotation, k) for k in range(order)]
        if _closest(orbit, sites, cell) > CLOSEST:
            sites += orbit
            numbers += [int(rng.choice(elements))] * order
    if not sites:
        sites, numbers = [np.zeros(2)], [int(elements[0])]
    fractions = (np.array(sites) @ np.linalg.inv(cell)) % 1.0
    return cell, fractions[:MAX_ATOMS], np.array(numbers)[:MAX_ATOMS]


def _closest(new: list[np.ndarray], old: list[np.ndarray], cell: np.ndarray) -> float:
    """Å between a new atom and any other one, periodic images included."""
    everyone = np.array([*old, *new]) @ np.linalg.inv(cell)
    distance = np.inf
    for index, _ in enumerate(new, start=len(old)):
        offsets = everyone[:index] - everyone[index]
        offsets -= np.round(offsets)
        if len(offsets):
            distance = min(distance, float(np.linalg.norm(offsets @ cell, axis=1).min()))
    return distance
