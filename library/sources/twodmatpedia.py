"""2DMatPedia's published ``db.json``: one JSON document to a line (Zhou et al., Sci. Data 6, 86 (2019))."""

from __future__ import annotations

from typing import Any

from library.sources.entry import Entry, from_sites, printable
from library.sources.published import Database, named


def recognise(record: dict[str, Any]) -> str:
    """Id of a record of this form, empty if it is of another."""
    return printable(str(record["material_id"])) if {"material_id", "structure"} <= record.keys() else ""


def entry(record: dict[str, Any], id: str, file: str, version: str) -> Entry:
    """Entry of one document; ``structure`` is in pymatgen's form."""
    database = named("2DMatPedia") if id.startswith("2dm-") else Database(file)
    return Entry(
        id, from_sites(record["structure"]), database.name, database.licence, database.url_of(id), version=version
    )
