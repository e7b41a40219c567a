"""Prototype files: one small TOML file per structure type, read and checked; what is wrong is said by file and key.

``docs/prototypes.md`` describes the fields.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from ase.data import atomic_numbers
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from library.decoration import Known, Prototype, Rule
from library.geometry import OVERLAP_FACTOR, bond_network, closest_contact
from microscopy.errors import LibraryError

PROTOTYPES = Path(__file__).parent / "prototypes"
"""Folder of the prototypes of the embedded library."""

GAMMA = {"hexagonal": 120.0, "square": 90.0, "rectangular": 90.0}
"""Angle between a and b in degrees for each in-plane lattice; hexagonal and square have b = a."""

EQUAL = ("hexagonal", "square")
MAX_PROBLEMS = 3
"""Said of one file; the rest shows when these are mended."""

MAX_BYTES = 100_000
"""A prototype is one small file; anything larger is something else."""


def read_prototypes(paths: Sequence[Path] = (PROTOTYPES,)) -> tuple[Prototype, ...]:
    """Read prototype files, and every prototype file of each folder, by name; a file named twice is read once.

    Raises
    ------
    LibraryError
        If a file is not a valid prototype, a folder holds none, or two files share a name.
    """
    found: dict[str, Path] = {}
    prototypes = []
    for file in dict.fromkeys(file.resolve() for path in paths for file in _files(path)):
        prototype = read_prototype(file)
        if prototype.name in found:
            other = found[prototype.name]
            raise LibraryError(f"{file}: name: {prototype.name!r} is also the name of {other}; choose another")
        found[prototype.name] = file
        prototypes.append(prototype)
    return tuple(prototypes)


def read_prototype(path: Path) -> Prototype:
    """Read one prototype file.

    Raises
    ------
    LibraryError
        If it cannot be read, is not TOML, has a wrong field, or its reference compound is not one layer.
    """
    try:
        text = path.read_bytes()[:MAX_BYTES].decode("utf-8")
        fields = _Fields.model_validate(tomllib.loads(text))
    except OSError as error:
        raise LibraryError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise LibraryError(f"{path}: {_problems(error)}") from error
    except ValueError as error:  # TOML and UTF-8 errors, which say the line or the byte
        raise LibraryError(f"{path}: not a TOML file: {error}") from error
    prototype = fields.prototype()
    problem = _problem_of_reference(prototype)
    if problem:
        raise LibraryError(f"{path}: sites: {problem}")
    return prototype


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    files = sorted(path.glob("*.toml"))
    if not files:
        raise LibraryError(f"{path}: no prototype files (*.toml) here")
    yield from files


def _problem_of_reference(prototype: Prototype) -> str:
    """Why the sites as written are not one layer of bonded atoms; empty when they are."""
    structure = prototype.structure(prototype.reference, 1.0)
    if closest_contact(structure) < OVERLAP_FACTOR:
        return "atoms of the reference compound overlap; x and y are fractions of a and b, z is in Å"
    if bond_network(structure).ranks != (2,):
        return "the reference compound is not one connected layer; check a, b and z (in Å), and that no site is missing"
    return ""


def _problems(error: ValidationError) -> str:
    """What is wrong in one line: where, and what to do."""
    return "; ".join(_problem(each["loc"], each["type"], each["msg"]) for each in error.errors()[:MAX_PROBLEMS])


def _problem(place: Sequence[str | int], kind: str, message: str) -> str:
    # Blocks and sites are counted from 1, as people do.
    where = ".".join(str(part + 1) if isinstance(part, int) else part for part in place)
    message = message.removeprefix("Value error, ")
    if kind == "extra_forbidden":
        message = (
            f"no such field; the fields are {', '.join(_Fields.model_fields)}" if len(place) == 1 else "no such field"
        )
    elif kind == "missing":
        message = 'is missing; a site is ["role", x, y, z]' if place[0] == "sites" else "is missing"
    return f"{where}: {message}" if where else message


def _element(symbol: str) -> str:
    if atomic_numbers.get(symbol, 0) < 1:
        raise ValueError(f"{symbol!r} is no element; write symbols like Mo")
    return symbol


def _ion(text: Any) -> Any:
    """'Mo4+' → ('Mo', 4); 'Mo' → ('Mo', 0)."""
    if not isinstance(text, str):
        raise ValueError("write an element with its charge, such as Mo4+ or S2-")
    match = re.fullmatch(r"([A-Za-z]+?)(?:(\d*)([+-]))?", text)
    if match is None:
        raise ValueError(f"{text!r} is no ion; write an element with its charge, such as Mo4+ or S2-")
    symbol, charge, sign = match.groups()
    return _element(symbol), (int(charge or 1) * (1 if sign == "+" else -1)) if sign else 0


def _filling(value: Any) -> Any:
    """{"-2": "S Se"} → (("S", -2), ("Se", -2))."""
    if not isinstance(value, Mapping) or not all(isinstance(symbols, str) for symbols in value.values()):
        raise ValueError('write elements by charge, such as { -2 = "S Se Te" }')
    wrong = [charge for charge in value if not re.fullmatch(r"[+-]?\d+", charge)]
    if wrong:
        raise ValueError(f'{wrong[0]!r} is no charge; write elements by charge, such as {{ -2 = "S Se Te" }}')
    ions = tuple((_element(symbol), int(charge)) for charge, symbols in value.items() for symbol in symbols.split())
    if not ions:
        raise ValueError("no element may fill this role; name at least one")
    return ions


Ion = Annotated[tuple[str, int], BeforeValidator(_ion)]
Filling = Annotated[tuple[tuple[str, int], ...], BeforeValidator(_filling)]
Length = Annotated[FiniteFloat, Field(gt=1.0, lt=60.0)]
"""Å; no cell of a crystal is smaller."""


class _Known(BaseModel):
    model_config = ConfigDict(extra="forbid")
    formula: str
    a: Length
    b: Length | None = None
    source: str


class _Rule(BaseModel):
    """One block of decorations: its other fields are the roles."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Filling]
    balanced: bool = True
    ordered: tuple[str, str] | None = None


class _Fields(BaseModel):
    """A file as written."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    title: str
    system: Literal["hexagonal", "square", "rectangular", "oblique"]
    a: Length
    b: Length | None = None
    gamma: Annotated[FiniteFloat, Field(gt=20.0, lt=160.0)] | None = None
    sites: Annotated[list[tuple[str, FiniteFloat, FiniteFloat, FiniteFloat]], Field(min_length=1)]
    radii: Literal["ionic", "covalent", "metallic"]
    bonds: Annotated[list[tuple[str, str]], Field(min_length=1)]
    reference: dict[str, Ion]
    distinct: bool = True
    soft: bool = False
    decorations: Annotated[list[_Rule], Field(min_length=1)]
    known: list[_Known] = []

    @model_validator(mode="after")
    def _cell(self) -> _Fields:
        if (self.b is None) != (self.system in EQUAL):
            raise ValueError(f"b: the {self.system} cell {'has b = a: leave it out' if self.b else 'needs b in Å'}")
        if (self.gamma is None) != (self.system in GAMMA):
            needs = "has its own angle: leave it out" if self.gamma else "needs gamma in degrees"
            raise ValueError(f"gamma: the {self.system} cell {needs}")
        return self

    @model_validator(mode="after")
    def _roles(self) -> _Fields:
        roles = {role for role, *_ in self.sites}
        listed = ", ".join(sorted(roles))
        used = {"bonds": {role for bond in self.bonds for role in bond}, "reference": set(self.reference)}
        used |= {f"decorations.{n}": set(rule.__pydantic_extra__) for n, rule in enumerate(self.decorations, 1)}
        used |= {f"decorations.{n}.ordered": set(rule.ordered or ()) for n, rule in enumerate(self.decorations, 1)}
        for where, names in used.items():
            if names - roles:
                unknown = ", ".join(sorted(names - roles))
                raise ValueError(f"{where}: no site has the role {unknown}; the sites have {listed}")
            if roles - names and where != "bonds" and not where.endswith("ordered"):
                raise ValueError(f"{where}: nothing fills {', '.join(sorted(roles - names))}; the sites have {listed}")
        return self

    def prototype(self) -> Prototype:
        return Prototype(
            name=self.name,
            title=self.title,
            cell=(self.a, self.b or self.a, self.gamma or GAMMA[self.system]),
            sites=tuple(self.sites),
            radii=self.radii,
            bonds=tuple(self.bonds),
            reference=self.reference,
            distinct=self.distinct,
            rules=tuple(Rule(dict(r.__pydantic_extra__), r.balanced, r.ordered) for r in self.decorations),
            known=tuple(Known(k.formula, k.a, k.b, k.source) for k in self.known),
            soft=self.soft,
        )
