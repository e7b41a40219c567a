"""What is known of the published databases of monolayers: terms and addresses."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True)
class Database:
    """A database: its name, its licence as its publishers state it (empty: not known), and where an entry is shown."""

    name: str
    licence: str = ""
    url: str = ""

    def url_of(self, id: str) -> str:
        """Address of an entry."""
        return self.url.replace("{id}", quote(id))


DATABASES = {
    database.name: database
    for database in (
        Database("C2DB", "CC-BY-4.0", "https://c2db.fysik.dtu.dk/material/{id}"),
        Database("2DMatPedia", "CC-BY-4.0", "http://www.2dmatpedia.org/2dmaterials/doc/{id}"),
        Database("JARVIS-DFT", "CC-BY-4.0", "https://www.ctcms.nist.gov/~knc6/static/JARVIS-DFT/{id}.xml"),
        Database("MC2D", "CC-BY-4.0", "https://doi.org/10.24435/materialscloud:36-nd"),
        Database("Materials Project", "CC-BY-4.0", "https://next-gen.materialsproject.org/materials/{id}"),
    )
}
"""Licences: the deposits of C2DB, 2DMatPedia and JARVIS on figshare, of MC2D in the Materials Cloud archive (2022.84),
and the terms of use of the Materials Project. Data that state their own terms are believed first."""


def named(name: str) -> Database:
    """Database of that name, or one of which nothing else is known."""
    return DATABASES.get(name, Database(name))
