"""Structures from OPTIMADE servers (https://www.optimade.org, specification 1.2).

optimade:cmr?elements=Mo,S                     all of C2DB made of exactly Mo and S
optimade:mc2d?nperiodic_dimensions=2           what the server itself calls two-dimensional
optimade:twodmatpedia?filter=nsites<=6         any filter of the specification's grammar
optimade:https://example.org/optimade?elements=C
optimade:odbx.gnome?elements=C                 looked up in the list of providers
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urljoin, urlsplit

from library.sources.entry import Entry, Refusal, RefusedError, attempt, printable, structure, symbols
from library.sources.published import Database, named
from library.sources.web import Manners, Page, StatusError, Web, pages
from microscopy.errors import LibraryError

PROVIDERS = {
    "cmr": ("https://cmr-optimade.fysik.dtu.dk", "C2DB"),
    "twodmatpedia": ("http://optimade.2dmatpedia.org", "2DMatPedia"),
    "jarvis": ("https://jarvis.nist.gov/optimade/jarvisdft", "JARVIS-DFT"),
    "mc2d": ("https://optimade.materialscloud.io/main/mc2d", "MC2D"),
    "mp": ("https://optimade.materialsproject.org", "Materials Project"),
}
"""Base addresses and databases of servers with monolayers; any other is looked up in `INDEX`."""

INDEX = "https://providers.optimade.org"

PAGE = 100
"""Structures asked for at once: servers must refuse more than they allow, and the common limits are 100 and more."""

FIELDS = (
    "lattice_vectors",
    "cartesian_site_positions",
    "species",
    "species_at_sites",
    "elements",
    "nperiodic_dimensions",
    "structure_features",
    "last_modified",
)


@dataclass(frozen=True)
class Query:
    """What is asked of which server: ``filter`` is OPTIMADE's, the others are checked again in the answers."""

    server: str
    filter: str
    elements: frozenset[str] | None = None
    nperiodic_dimensions: int | None = None


def parse_query(text: str) -> Query:
    """Read ``SERVER?elements=Mo,S&nperiodic_dimensions=2`` or ``SERVER?filter=…``.

    Raises
    ------
    LibraryError
        If the query is not of this form or asks for nothing in particular.
    """
    server, _, options = text.partition("?")
    # OPTIMADE's own filters contain = and <; only a parameter's first = divides.
    given = {key: values[-1] for key, values in parse_qs(options, keep_blank_values=True).items()}
    unknown = set(given) - {"elements", "nperiodic_dimensions", "filter"}
    if unknown or not server or not given or ("filter" in given and len(given) > 1):
        raise LibraryError(
            f"optimade:{printable(text)}: write optimade:PROVIDER?elements=Mo,S or optimade:PROVIDER?filter=…"
        )
    if "filter" in given:
        return Query(server, given["filter"])
    parts, elements, dimensions = [], None, None
    if "elements" in given:
        elements = frozenset(symbols(given["elements"]))
        listed = ",".join(f'"{symbol}"' for symbol in sorted(elements))
        # No brackets: jarvis answers a filter in brackets with its whole database.
        parts.append(f"elements HAS ALL {listed} AND nelements={len(elements)}")
    if "nperiodic_dimensions" in given:
        if given["nperiodic_dimensions"] not in ("0", "1", "2", "3"):
            raise LibraryError(f"optimade:{printable(text)}: nperiodic_dimensions is 0, 1, 2 or 3")
        dimensions = int(given["nperiodic_dimensions"])
        parts.append(f"nperiodic_dimensions={dimensions}")
    return Query(server, " AND ".join(parts), elements, dimensions)


def read_optimade(text: str, work: Path, manners: Manners) -> Iterator[Entry | Refusal]:
    """Structures that a server has for a query.

    Parameters
    ----------
    text
        See `parse_query`.
    work
        Folder where complete pages are kept, so that a second start goes on after the last.
    manners
        How the server is asked.

    Raises
    ------
    LibraryError
        If the query is wrong, or the server cannot be reached or does not do what it was asked.
    """
    query = parse_query(text)
    return _read(query, work, manners)


def _read(query: Query, work: Path, manners: Manners) -> Iterator[Entry | Refusal]:
    with Web(manners) as web:
        base, database = _server(query.server, web)
        database = _with_licence(database, base, web)
        options = {"filter": query.filter, "page_limit": str(PAGE), "response_fields": ",".join(FIELDS)}
        first = f"{base}/v1/structures?{urlencode(options, quote_via=quote)}"
        folder = work / f"optimade-{hashlib.sha256(first.encode()).hexdigest()[:16]}"
        for number, page in enumerate(pages(web, first, _next, _check, folder)):
            records = page["data"]
            strangers = [r for r in records if not _asked_for(r, query)]
            if number == 0 and records and len(strangers) == len(records):
                raise LibraryError(f"{base}: does not support the filter {query.filter}: nothing it sends fulfils it")
            for record in records:
                yield _item(record, query, base, database)


def _server(name: str, web: Web) -> tuple[str, Database]:
    if name in PROVIDERS:
        base, database = PROVIDERS[name]
        return base, named(database)
    if name.startswith(("http://", "https://")):
        base = name.rstrip("/").removesuffix("/structures").removesuffix("/v1")
        return base, Database(printable(urlsplit(base).netloc))
    provider, _, child = name.partition(".")
    index = _link(INDEX, lambda link: link.get("id") == provider, name, web)
    wanted = child or None
    base = _link(
        index,
        lambda link: link["attributes"].get("link_type") == "child" and (wanted is None or link.get("id") == wanted),
        name,
        web,
    )
    return base, Database(printable(name))


def _link(base: str, wanted: Any, name: str, web: Web) -> str:
    """Base address that a server's list of links gives for the entry that is wanted."""
    links = web.get(f"{base}/v1/links", _check)["data"]
    for link in links:
        address = link["attributes"].get("base_url") if wanted(link) else None
        address = address.get("href") if isinstance(address, Mapping) else address
        if isinstance(address, str):
            return address.rstrip("/")
    raise LibraryError(
        f"{printable(name)}: no such OPTIMADE provider; known are {', '.join(PROVIDERS)} and those of {INDEX}"
    )


def _with_licence(database: Database, base: str, web: Web) -> Database:
    """What the server itself says of its licence, if it says anything, is believed first."""
    try:
        attributes = web.get(f"{base}/v1/info", lambda page: page["data"]["attributes"].keys())["data"]["attributes"]
    except StatusError:
        return database
    names = attributes.get("available_licenses") or attributes.get("available_licenses_for_entries")
    stated = names[0] if isinstance(names, list) and names else attributes.get("license")
    stated = stated.get("href") if isinstance(stated, Mapping) else stated
    return Database(database.name, printable(stated), database.url) if isinstance(stated, str) else database


def _check(page: Page) -> None:
    if not isinstance(page["data"], list) or not all(isinstance(item.get("attributes"), dict) for item in page["data"]):
        raise ValueError("no list of entries")


def _next(url: str, page: Page) -> str | None:
    """``links.next`` is an address, an object that holds one, or null (specification, 5.4)."""
    link = (page.get("links") or {}).get("next")
    link = link.get("href") if isinstance(link, Mapping) else link
    if not link:
        return None
    address = urljoin(url, str(link))
    if not address.startswith(("http://", "https://")):
        raise LibraryError(f"{printable(address)}: not an address of the web, as the next page")
    return address


def _asked_for(record: Mapping[str, Any], query: Query) -> bool:
    attributes = record["attributes"]
    elements = attributes.get("elements") or attributes.get("species_at_sites") or ()
    dimensions = attributes.get("nperiodic_dimensions")
    return (query.elements is None or set(map(str, elements)) == query.elements) and (
        None in (query.nperiodic_dimensions, dimensions) or dimensions == query.nperiodic_dimensions
    )


def _item(record: Mapping[str, Any], query: Query, base: str, database: Database) -> Entry | Refusal:
    id = printable(str(record.get("id", "")))
    if not _asked_for(record, query):
        return Refusal(id, "not asked for", "the server ignored the filter")
    url = database.url_of(id) or f"{base}/v1/structures/{quote(id)}"
    return attempt(id, partial(_entry, record["attributes"], id, url, database))


def _entry(attributes: Mapping[str, Any], id: str, url: str, database: Database) -> Entry:
    features = set(attributes.get("structure_features") or ())
    for feature in ("implicit_atoms", "unknown_positions", "assemblies"):
        if feature in features:
            raise RefusedError(f"incomplete structure: {feature.replace('_', ' ')}")
    kinds = {kind["name"]: kind for kind in attributes.get("species") or ()}
    names: Sequence[str] = attributes["species_at_sites"]
    crystal = structure(
        attributes["lattice_vectors"],
        [_symbol(name, kinds) for name in names],
        attributes["cartesian_site_positions"],
        cartesian=True,
    )
    version = printable(str(attributes.get("last_modified") or ""))
    return Entry(id, crystal, database.name, database.licence, url, version=version)


def _symbol(name: str, kinds: Mapping[str, Mapping[str, Any]]) -> str:
    """Element of a site; anything but one element, wholly there, is refused."""
    if not kinds:
        return name
    kind = kinds[name]
    found = [str(symbol) for symbol in kind["chemical_symbols"]]
    if kind.get("attached"):
        raise RefusedError("incomplete structure: attached atoms", name)
    if len(found) != 1 or found[0] == "vacancy" or abs(float((kind.get("concentration") or [1.0])[0]) - 1.0) > 1e-6:
        raise RefusedError("disordered sites", name)
    if found[0] == "X":
        raise RefusedError("sites without a chemical element", name)
    return found[0]
