"""Training the denoiser: crystals from libraries, split by material, then one resumable run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from library.store import Library
from microscopy.errors import LibraryError
from models.divaesr.bank import CrystalBank
from models.divaesr.crystals import bank_of

VALIDATION_SHARE = 0.08
"""Of the materials; chosen by their formula, so that a material is on one side in every library."""

RANDOM_CRYSTALS = {"training": 4000, "validation": 200}


@dataclass(frozen=True)
class Split:
    """Rows of a library by use."""

    training: tuple[int, ...]
    validation: tuple[int, ...]
    held_out: tuple[int, ...]


def split(library: Library, held_out: Iterable[str] = ()) -> Split:
    """Split the rows of a library by formula.

    Parameters
    ----------
    library
        All templates.
    held_out
        Ids or formulas that training must not see: every material of the same formula stays out with them.

    Raises
    ------
    LibraryError
        If nothing is left to train on.
    """
    rows = {name: row for row, name in enumerate(library.ids)}
    hidden = {library.formulas[rows[name]] if name in rows else name for name in held_out}
    parts: dict[str, list[int]] = {"training": [], "validation": [], "held_out": []}
    for row, formula in enumerate(library.formulas):
        kind = "held_out" if formula in hidden else "validation" if _draw(formula) < VALIDATION_SHARE else "training"
        parts[kind].append(row)
    if not parts["training"]:
        raise LibraryError("no material is left to train on; give another --library or hold out fewer")
    return Split(**{name: tuple(found) for name, found in parts.items()})


def banks(library: Library, parts: Split, seed: int) -> tuple[CrystalBank, CrystalBank]:
    """Crystals to train on and to validate with, random ones among both."""
    validation = parts.validation or parts.training[:1]
    return (
        bank_of(_structures(library, parts.training), RANDOM_CRYSTALS["training"], seed),
        bank_of(_structures(library, validation), RANDOM_CRYSTALS["validation"], seed + 1),
    )


def read_names(path: Path) -> tuple[str, ...]:
    """Ids or formulas, one a line."""
    return tuple(line.strip() for line in path.read_text().splitlines() if line.strip())


def _structures(library: Library, rows: Sequence[int]) -> list[object]:
    return [library.template(row).structure for row in rows]


def _draw(formula: str) -> float:
    return int.from_bytes(hashlib.sha256(formula.encode()).digest()[:4], "big") / 2**32
