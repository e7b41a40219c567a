"""Structures from the Materials Project's API (https://api.materialsproject.org).

    mp:Mo-S            all of the chemical system of Mo and S
    mp:Mo-S,W-Se       of two systems

The key is read from ``MP_API_KEY``; ``MP_API_ENDPOINT`` names another server, as in the project's own client.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from library.sources.entry import Entry, Refusal, attempt, from_sites, printable, symbols
from library.sources.published import named
from library.sources.web import Manners, Page, StatusError, Web, pages
from microscopy.errors import LibraryError

ENDPOINT = "https://api.materialsproject.org"
KEY_VARIABLE = "MP_API_KEY"
PAGE = 500
FIELDS = ("material_id", "structure", "builder_meta", "last_updated")

LICENCES = {"BY-C": "CC-BY-4.0", "BY-NC": "CC-BY-NC-4.0"}
"""The API's names for the licence of an entry; those of the GNoME data set are for non-commercial use."""


def read_materials_project(text: str, work: Path, manners: Manners) -> Iterator[Entry | Refusal]:
    """Structures of some chemical systems.

    Parameters
    ----------
    text
        Systems, such as ``Mo-S,W-Se``.
    work
        Folder where complete pages are kept, so that a second start goes on after the last.
    manners
        How the server is asked.

    Raises
    ------
    LibraryError
        If a system is not made of elements, there is no key or it is refused, or the server cannot be reached.
    """
    systems = ",".join("-".join(sorted(set(symbols(system, "-")))) for system in text.split(","))
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isalnum()):
        raise LibraryError(
            f"mp:{printable(text)}: set {KEY_VARIABLE} to your key, from https://next-gen.materialsproject.org/api"
        )
    return _read(systems, key, work, manners)


def _read(systems: str, key: str, work: Path, manners: Manners) -> Iterator[Entry | Refusal]:
    base = os.environ.get("MP_API_ENDPOINT", "").strip().rstrip("/") or ENDPOINT
    first = _page(base, systems, 0)
    folder = work / f"mp-{hashlib.sha256(first.encode()).hexdigest()[:16]}"
    with Web(manners, {"X-API-KEY": key}) as web:
        try:
            for page in pages(web, first, lambda url, page: _next(base, systems, url, page), _check, folder):
                for record in page["data"]:
                    id = printable(str(record.get("material_id", "")))
                    yield attempt(id, partial(_entry, record, id))
        except StatusError as error:
            if error.status in (401, 403):
                raise LibraryError(f"the Materials Project refuses the key in {KEY_VARIABLE}: {error}") from error
            raise


def _page(base: str, systems: str, skip: int) -> str:
    options = {
        "chemsys": systems,
        "deprecated": "false",
        "_fields": ",".join(FIELDS),
        "_all_fields": "false",
        "_limit": str(PAGE),
        "_skip": str(skip),
    }
    return f"{base}/materials/summary/?{urlencode(options)}"


def _check(page: Page) -> None:
    if not isinstance(page["data"], list) or not all(isinstance(record, dict) for record in page["data"]):
        raise ValueError("no list of materials")
    int(page["meta"]["total_doc"])


def _next(base: str, systems: str, url: str, page: Page) -> str | None:
    read = int(parse_qs(urlsplit(url).query)["_skip"][0]) + len(page["data"])
    return _page(base, systems, read) if page["data"] and read < int(page["meta"]["total_doc"]) else None


def _entry(record: Mapping[str, Any], id: str) -> Entry:
    database, built = named("Materials Project"), record.get("builder_meta") or {}
    licence = LICENCES.get(str(built.get("license")), database.licence)
    version = printable(str(built.get("database_version") or record.get("last_updated") or ""))
    return Entry(id, from_sites(record["structure"]), database.name, licence, database.url_of(id), version=version)
