"""JARVIS-DFT's ``dft_2d`` and its sisters: one JSON list (Choudhary et al., npj Comput. Mater. 6, 173 (2020)).

jarvis-tools distributes other databases in the same form, with their own ids: ``twod_matpd`` is 2DMatPedia.
"""

from __future__ import annotations

from typing import Any

from library.sources.entry import Entry, printable, structure
from library.sources.published import Database, named

IDS = ("jid", "material_id", "id")


def recognise(record: dict[str, Any]) -> str:
    """Id of a record of this form, empty if it is of another."""
    if "atoms" not in record:
        return ""
    return next((printable(str(record[key])) for key in IDS if key in record), "")


def entry(record: dict[str, Any], id: str, file: str, version: str) -> Entry:
    """Entry of one item; coordinates are fractional unless ``cartesian`` is set."""
    atoms = record["atoms"]
    prefixes = {"JVASP-": named("JARVIS-DFT"), "2dm-": named("2DMatPedia")}
    database = next((found for prefix, found in prefixes.items() if id.startswith(prefix)), Database(file))
    crystal = structure(
        atoms["lattice_mat"],
        [str(symbol).strip() for symbol in atoms["elements"]],
        atoms["coords"],
        cartesian=atoms.get("cartesian") is True,
    )
    return Entry(id, crystal, database.name, database.licence, database.url_of(id), version=version)
