"""Training the denoiser: crystals from libraries, split by material, then one resumable run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pymatgen.core import Structure

from library.store import Library, open_libraries
from microscopy.errors import DenoiseError, LibraryError
from models.divaesr.bank import CrystalBank
from models.divaesr.crystals import bank_of

VALIDATION_SHARE = 0.08
"""Of the materials; chosen by their formula, so that a material is on one side in every library."""

NAMES = ("small", "full")
"""Recipes, see ``models.divaesr.recipes``."""

SEED = 0
"""Of the random crystals."""

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


def train_denoiser(
    folders: Sequence[Path], held_out: Sequence[str], recipe: str, out: Path, banks_only: bool, progress: bool
) -> dict[str, Any]:
    """Make the banks of crystals and train; started again, it goes on where it stopped.

    Parameters
    ----------
    folders
        Libraries to take crystals from; the embedded one if none.
    held_out
        Ids or formulas that training must not see.
    recipe
        Key of ``models.divaesr.recipes.RECIPES``.
    out
        Folder of banks, checkpoints, logs and weights.
    banks_only
        Stop when the banks are written.
    progress
        Show a progress bar.

    Returns
    -------
    dict
        How many materials were used, where the weights are, and what they reach.

    Raises
    ------
    LibraryError
        If a library cannot be opened, or nothing is left to train on.
    DenoiseError
        If ``out`` holds a training on other crystals.
    """
    library = open_libraries(folders or None)
    parts = split(library, held_out)
    out.mkdir(parents=True, exist_ok=True)
    paths = {name: out / f"{name}.npz" for name in ("training", "validation")}
    facts: dict[str, Any] = {
        "command": _command(folders, held_out, recipe),
        "library": library.digest,
        "materials": {name: len(rows) for name, rows in asdict(parts).items()},
    }
    record = out / "crystals.json"
    if record.is_file() and json.loads(record.read_text()) != facts:
        raise DenoiseError(f"{out}: holds a training on other crystals or by another recipe; choose another --out")
    if not record.is_file():
        for path, bank in zip(paths.values(), banks(library, parts, SEED), strict=True):
            bank.save(path)
        record.write_text(json.dumps(facts, indent=1) + "\n")
    answer: dict[str, Any] = {"out": str(out), **facts}
    if banks_only:
        return answer
    from models.divaesr.recipes import RECIPES, cook, weights_of  # torch and Lightning take seconds to import

    loaded = [CrystalBank.load(path) for path in paths.values()]
    reached = cook(RECIPES[recipe], loaded[0], loaded[1], out, facts, progress)
    weights, digest = weights_of(RECIPES[recipe], out)
    return {**answer, "weights": str(weights), "digest": digest, "reached": reached}


def _command(folders: Sequence[Path], held_out: Sequence[str], recipe: str) -> str:
    libraries = " ".join(f"--library {folder.name}" for folder in folders)
    hidden = f"--hold-out ({len(held_out)} names)" if held_out else ""
    return " ".join(f"automat train denoiser --recipe {recipe} {libraries} {hidden}".split())


def read_names(path: Path) -> tuple[str, ...]:
    """Ids or formulas, one a line."""
    return tuple(line.strip() for line in path.read_text().splitlines() if line.strip())


def _structures(library: Library, rows: Sequence[int]) -> list[Structure]:
    return [library.template(row).structure for row in rows]


def _draw(formula: str) -> float:
    return int.from_bytes(hashlib.sha256(formula.encode()).digest()[:4], "big") / 2**32
