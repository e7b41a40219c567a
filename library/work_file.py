"""Relaxed decorations, and the file that keeps them while a library is generated: one line each.

Stopping at any moment loses one decoration.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Lattice, Structure

from microscopy.errors import LibraryError


@dataclass(frozen=True, eq=False)
class Generated:
    """A relaxed decoration, or why there is none.

    Attributes
    ----------
    id, prototype
        Readable identifier, and the structure type's name.
    key
        Digest of all that determines the result: start, limits, checkpoint.
    refusal
        Empty when kept, else the reason.
    structure
        Relaxed slab, or None when refused.
    energy_per_atom
        eV/atom, or None.
    steps
        Optimiser steps.
    """

    id: str
    prototype: str
    key: str
    refusal: str
    structure: Structure | None
    energy_per_atom: float | None
    steps: int


def read_generated(work: Path) -> Sequence[Generated]:
    """Finished decorations of a work file; an unfinished last line (a killed run) is dropped from the file.

    Raises
    ------
    LibraryError
        If a line in the middle is not one of this module's.
    """
    if not work.exists():
        return []
    try:
        text = work.read_text(encoding="utf-8")
        complete = text[: text.rfind("\n") + 1]
        items = [_from_json(json.loads(line)) for line in complete.splitlines()]
        if complete != text:
            work.write_text(complete, encoding="utf-8")
    except OSError as error:
        raise LibraryError(f"{work}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise LibraryError(
            f"{work}: not a work file of the generator ({type(error).__name__}: {error}); move it away"
        ) from error
    return items


def append(work: Path, item: Generated) -> Generated:
    """Add a finished decoration to a work file, which is made when missing, with its folder.

    Returns
    -------
    Generated
        What `read_generated` will say of it: an interruption alters no digit.

    Raises
    ------
    LibraryError
        If it cannot be written.
    """
    line = json.dumps(_to_json(item))
    try:
        work.parent.mkdir(parents=True, exist_ok=True)
        with work.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
    except OSError as error:
        raise LibraryError(f"{work}: cannot be written ({error.strerror})") from error
    return _from_json(json.loads(line))


def _to_json(item: Generated) -> dict[str, Any]:
    line: dict[str, Any] = {"id": item.id, "prototype": item.prototype, "key": item.key, "refusal": item.refusal}
    if item.structure is not None:
        line["numbers"] = [int(site.specie.Z) for site in item.structure]
        line["cell"] = np.round(item.structure.lattice.matrix, 6).tolist()
        line["frac"] = np.round(item.structure.frac_coords, 7).tolist()
    return {**line, "energy_per_atom": item.energy_per_atom, "steps": item.steps}


def _from_json(line: dict[str, Any]) -> Generated:
    structure = None
    if "numbers" in line:
        lattice = Lattice(line["cell"], pbc=(True, True, False))
        structure = Structure(lattice, line["numbers"], line["frac"])
    return Generated(
        line["id"], line["prototype"], line["key"], line["refusal"], structure, line["energy_per_atom"], line["steps"]
    )
