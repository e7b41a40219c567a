"""What every reader of a source yields: a structure with where it comes from, or the reason why there is none."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymatgen.core import Element, Lattice, Structure

from library.cleaning import MAX_SITES
from microscopy.errors import LibraryError
from microscopy.slab import VACUUM

MAX_NAME = 200
"""Characters of an id or a detail that are kept."""


@dataclass(frozen=True, eq=False)
class Entry:
    """A structure as its source has it, and where it comes from.

    Attributes
    ----------
    id
        Name of the entry in its source.
    structure
        As published: any cell, any axis across the layer.
    source, licence, url
        Database or file, its terms (SPDX when known, empty when not stated) and where the entry can be looked up.
    prototype
        Structure type, empty when unknown.
    version
        Release of the database, date of the entry, or ``sha256:…`` of the file that it was read from.
    """

    id: str
    structure: Structure
    source: str
    licence: str = ""
    url: str = ""
    prototype: str = ""
    version: str = ""


@dataclass(frozen=True)
class Refusal:
    """An entry that cannot be used: its id, a reason that can be counted, and the details."""

    id: str
    reason: str
    detail: str = ""


class RefusedError(LibraryError):
    """One entry cannot be used; ``reason`` is the part of the message that is counted."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


def attempt(id: str, make: Callable[[], Entry], reason: str = "unreadable record") -> Entry | Refusal:
    """Make an entry; whatever goes wrong becomes a refusal, so that one bad record never stops the rest."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            # Parsers warn of rounded coordinates and guessed sites; what matters is refused by the cleaning.
            warnings.simplefilter("ignore")
            return make()
    except RefusedError as error:
        return Refusal(printable(id), error.reason, printable(error.detail))
    except Exception as error:  # parsers of broken input raise anything
        return Refusal(printable(id), reason, brief(error))


def printable(text: str) -> str:
    """One line that every terminal and file can show."""
    return "".join(c if c.isprintable() else "?" for c in text[:MAX_NAME])


def brief(error: BaseException) -> str:
    """Type and first line of an error."""
    return printable(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")


def symbols(text: str, separator: str = ",") -> list[str]:
    """Chemical symbols of a list.

    Raises
    ------
    LibraryError
        If one is not an element.
    """
    found = [symbol.strip() for symbol in text.split(separator)]
    for symbol in found:
        if not Element.is_valid_symbol(symbol):
            raise LibraryError(f"{printable(text)}: {printable(symbol) or 'nothing'} is not a chemical element")
    return found


def structure(matrix: Any, species: Sequence[Any], coords: Any, *, cartesian: bool) -> Structure:
    """Structure from the numbers of a record.

    Parameters
    ----------
    matrix
        Rows a, b, c in Å. One of them may be missing or zero, as some databases write the direction across a layer;
        it becomes the normal of the other two, with vacuum.
    species
        A symbol, or a mapping of symbols to occupancies, for each site.
    coords
        Positions in Å or fractions of the rows, shape (N, 3).
    cartesian
        Whether positions are in Å.

    Raises
    ------
    RefusedError
        If there is no cell, there are no atoms or too many, or a number is not finite.
    """
    if len(species) == 0:
        raise RefusedError("no atoms")
    if len(species) > MAX_SITES:
        raise RefusedError("too many atoms", f"{len(species)}, at most {MAX_SITES}")
    rows = [None if row is None or None in list(row) else [float(x) for x in row] for row in matrix]
    positions = np.array(coords, dtype=float)
    if len(rows) != 3 or positions.shape != (len(species), 3):
        raise RefusedError("unreadable record", f"{len(rows)} axes, {len(species)} sites, positions {positions.shape}")
    cell = _completed(rows, positions, cartesian)
    if not (np.isfinite(cell).all() and np.isfinite(positions).all()):
        raise RefusedError("not finite")
    if abs(np.linalg.det(cell)) < 1e-3:
        raise RefusedError("degenerate or enormous cell")
    return Structure(Lattice(cell), [_occupants(s) for s in species], positions, coords_are_cartesian=cartesian)


def _completed(rows: list[list[float] | None], positions: np.ndarray, cartesian: bool) -> np.ndarray:
    missing = [axis for axis, row in enumerate(rows) if row is None or not any(row)]
    if not missing:
        return np.array(rows, dtype=float)
    if len(missing) > 1 or not cartesian:
        raise RefusedError("no cell", f"{len(missing)} axes are missing")
    axis = missing[0]
    normal = np.cross(np.array(rows[(axis + 1) % 3]), np.array(rows[(axis + 2) % 3]))
    area = float(np.linalg.norm(normal))
    if not area > 0:
        raise RefusedError("degenerate or enormous cell")
    heights = positions @ normal / area
    rows[axis] = list(normal / area * (float(np.ptp(heights)) + VACUUM))
    return np.array(rows, dtype=float)


def _occupants(species: Any) -> Any:
    if isinstance(species, str):
        return Element(species)
    return {Element(symbol): float(occupancy) for symbol, occupancy in species.items()}


def from_sites(record: Any) -> Structure:
    """Structure from pymatgen's JSON form, by its numbers alone: no class that the file names is ever imported."""
    sites = record["sites"]
    species = [_site_species(site["species"]) for site in sites[: MAX_SITES + 1]]
    return structure(
        record["lattice"]["matrix"], species, [site["abc"] for site in sites[: MAX_SITES + 1]], cartesian=False
    )


def _site_species(species: Any) -> str | dict[str, float]:
    if len(species) == 1 and float(species[0].get("occu", 1)) == 1.0:
        return str(species[0]["element"])
    return {str(kind["element"]): float(kind["occu"]) for kind in species}
