"""Structure types and the rules that fill them with elements.

A prototype is the geometry of a reference compound in Å, the role of each site, and for each role the elements (by
charge) that may take it; `library.prototype_files` reads them. A decoration is one way of filling the roles. Its
starting cell is that of the reference compound, scaled by the ratio of bond lengths.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from pymatgen.core import Element, Lattice, Structure

from microscopy.slab import slab

ANION_RADII = {("H", -1): 1.40, ("C", -4): 1.60, ("N", -3): 1.32, ("Si", -2): 1.70, ("Ge", -2): 1.75}
"""Å, on the scale of Shannon's crystal radii, for ions outside his table: half-lengths of bonds in their salts."""


@dataclass(frozen=True)
class Known:
    """A published lattice of one member: a ≤ b only if the source says so; b is None when symmetry fixes it."""

    formula: str
    a: float
    b: float | None
    source: str


@dataclass(frozen=True)
class Rule:
    """Elements by role, each with its charge; how many ways they combine."""

    roles: Mapping[str, tuple[tuple[str, int], ...]]
    balanced: bool
    ordered: tuple[str, str] | None


@dataclass(frozen=True)
class Prototype:
    """One structure type.

    Attributes
    ----------
    name, title
        Short name, unique; and what it is.
    cell
        a, b in Å and gamma in degrees of the reference compound.
    sites
        (role, x, y fractional, z in Å from the layer's middle) of the reference compound.
    radii
        Which radii scale the cell: ``ionic``, ``covalent`` or ``metallic``.
    bonds, reference
        Pairs of roles whose bond lengths set the scale, and the element of the reference compound in each role.
    distinct
        Whether different roles must hold different elements.
    rules, known
        Ways of filling the roles; published members.
    soft
        Whether its members are soft, and relaxed with the larger embedded potential to smaller forces.
    """

    name: str
    title: str
    cell: tuple[float, float, float]
    sites: tuple[tuple[str, float, float, float], ...]
    radii: str
    bonds: tuple[tuple[str, str], ...]
    reference: Mapping[str, tuple[str, int]]
    distinct: bool
    rules: tuple[Rule, ...]
    known: tuple[Known, ...]
    soft: bool = False

    def structure(self, filling: Mapping[str, tuple[str, int]], scale: float) -> Structure:
        """Return the slab with these elements in its roles, cell and heights scaled from the reference compound."""
        a, b, gamma = self.cell
        heights = np.array([z for *_, z in self.sites]) * scale
        depth = float(np.ptp(heights)) + 20.0
        lattice = Lattice.from_parameters(a * scale, b * scale, depth, 90, 90, gamma, vesta=True)
        frac = [[x, y, z / depth + 0.5] for (_, x, y, _), z in zip(self.sites, heights, strict=True)]
        return slab(Structure(lattice, [filling[role][0] for role, *_ in self.sites], frac))


@dataclass(frozen=True)
class Decoration:
    """A prototype with an element and charge in each role."""

    prototype: Prototype
    filling: tuple[tuple[str, tuple[str, int]], ...]

    @property
    def id(self) -> str:
        """Readable and unique: the prototype and the elements in the order of its roles."""
        return f"{self.prototype.name}:" + "-".join(symbol for _, (symbol, _) in self.filling)

    def structure(self) -> Structure:
        """Return the starting slab, cell and heights scaled from the reference compound by bond lengths."""
        prototype, filling = self.prototype, dict(self.filling)
        wanted = sum(_bond(prototype.radii, filling[i], filling[j]) for i, j in prototype.bonds)
        given = sum(_bond(prototype.radii, prototype.reference[i], prototype.reference[j]) for i, j in prototype.bonds)
        return prototype.structure(filling, wanted / given)


def decorations(prototype: Prototype) -> Iterator[Decoration]:
    """Every filling its rules allow, each once, in the order of the file."""
    seen: set[str] = set()
    for rule in prototype.rules:
        for combination in itertools.product(*rule.roles.values()):
            filling = dict(zip(rule.roles, combination, strict=True))
            decoration = Decoration(prototype, tuple(filling.items()))
            if _allowed(prototype, rule, filling) and decoration.id not in seen:
                seen.add(decoration.id)
                yield decoration


def _allowed(prototype: Prototype, rule: Rule, filling: Mapping[str, tuple[str, int]]) -> bool:
    symbols = [symbol for symbol, _ in filling.values()]
    if prototype.distinct and len(set(symbols)) < len(symbols):
        return False
    if rule.balanced and sum(filling[role][1] for role, *_ in prototype.sites) != 0:
        return False
    if rule.ordered is not None:
        first, second = (atomic_numbers[filling[role][0]] for role in rule.ordered)
        return bool(first < second)
    return True


def _bond(kind: str, first: tuple[str, int], second: tuple[str, int]) -> float:
    return radius(kind, *first) + radius(kind, *second)


def radius(kind: str, symbol: str, charge: int = 0) -> float:
    """Radius in Å: Shannon's crystal radius nearest in charge, the metallic radius, or the covalent one.

    Elements without an ionic or metallic radius fall back on the covalent one (Cordero et al., Dalton Trans.
    2832 (2008)).
    """
    element = Element(symbol)
    if kind == "ionic" and charge:
        if (symbol, charge) in ANION_RADII:
            return ANION_RADII[symbol, charge]
        same_sign = {c: r for c, r in element.ionic_radii.items() if c * charge > 0}
        if same_sign:
            return float(same_sign[min(same_sign, key=lambda c: (abs(c - charge), c))])
    if kind == "metallic" and element.is_metal:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No data available for metallic_radius")
            metallic = element.metallic_radius
        if metallic is not None and np.isfinite(float(metallic)):
            return float(metallic)
    return float(covalent_radii[atomic_numbers[symbol]])
