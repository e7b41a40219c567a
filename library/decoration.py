"""Structure types and the rules that fill them with elements.

A prototype is one small file in ``library/prototypes``: the geometry of a reference compound in Å, the role of
each site, and for each role the elements (by charge) that may take it. A decoration is one way of filling the
roles. The starting cell of a decoration is that of the reference compound, scaled by the ratio of bond lengths.
"""

from __future__ import annotations

import itertools
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from pymatgen.core import Element, Lattice, Species, Structure

from microscopy.errors import LibraryError
from microscopy.slab import slab

PROTOTYPES = Path(__file__).parent / "prototypes"
"""Folder of the prototype files."""

GAMMA = {"hexagonal": 120.0, "square": 90.0, "rectangular": 90.0}
"""Angle between a and b in degrees for each in-plane lattice; hexagonal and square have b = a."""

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
        return _structure(prototype, filling, wanted / given)


def read_prototypes(folder: Path = PROTOTYPES) -> tuple[Prototype, ...]:
    """Read every prototype file of a folder, by name.

    Raises
    ------
    LibraryError
        If a file is not a valid prototype.
    """
    prototypes = tuple(_read(path) for path in sorted(folder.glob("*.toml")))
    if not prototypes:
        raise LibraryError(f"{folder}: no prototype files (*.toml) here")
    return prototypes


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


def _structure(prototype: Prototype, filling: Mapping[str, tuple[str, int]], scale: float) -> Structure:
    a, b, gamma = prototype.cell
    heights = np.array([z for *_, z in prototype.sites]) * scale
    depth = float(np.ptp(heights)) + 20.0
    lattice = Lattice.from_parameters(a * scale, b * scale, depth, 90, 90, gamma, vesta=True)
    frac = [[x, y, z / depth + 0.5] for (_, x, y, _), z in zip(prototype.sites, heights, strict=True)]
    return slab(Structure(lattice, [filling[role][0] for role, *_ in prototype.sites], frac))


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


def _read(path: Path) -> Prototype:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        roles = {role for role, *_ in raw["sites"]}
        rules = tuple(_rule(block, roles) for block in raw["decorations"])
        return Prototype(
            name=raw["name"],
            title=raw["title"],
            cell=(float(raw["a"]), float(raw.get("b", raw["a"])), GAMMA[raw["system"]]),
            sites=tuple((role, float(x), float(y), float(z)) for role, x, y, z in raw["sites"]),
            radii=raw["radii"],
            bonds=tuple((i, j) for i, j in raw["bonds"]),
            reference={role: _ion(text) for role, text in raw["reference"].items()},
            distinct=bool(raw.get("distinct", True)),
            rules=rules,
            known=tuple(Known(k["formula"], float(k["a"]), k.get("b"), k["source"]) for k in raw.get("known", [])),
            soft=bool(raw.get("soft", False)),
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise LibraryError(f"{path}: not a prototype file: {type(error).__name__}: {error}") from error


def _rule(block: Mapping[str, Any], roles: set[str]) -> Rule:
    filled = {
        role: tuple((symbol, int(charge)) for charge, symbols in block[role].items() for symbol in symbols.split())
        for role in block
        if role not in ("balanced", "ordered")
    }
    if set(filled) != roles:
        raise ValueError(f"the sites have roles {sorted(roles)}, a decoration fills {sorted(filled)}")
    for symbol, _ in itertools.chain.from_iterable(filled.values()):
        Element(symbol)
    ordered = block.get("ordered")
    return Rule(filled, bool(block.get("balanced", True)), (ordered[0], ordered[1]) if ordered else None)


def _ion(text: str) -> tuple[str, int]:
    """'Mo4+' → ('Mo', 4); 'Mo' → ('Mo', 0)."""
    if text[-1] not in "+-":
        return Element(text).symbol, 0
    species = Species.from_str(text)
    return species.symbol, int(species.oxi_state or 0)
