"""OPTIMADE: a local server that speaks the protocol, its providers' differences included."""

import re
import time
from contextlib import contextmanager

import pytest
from json_server import Answer, Request, serving
from published import assert_same, optimade_resource, split
from pymatgen.core import Structure

from library.sources import Manners, optimade, read_source
from library.sources.web import KEEP
from microscopy.errors import LibraryError

HASTE = Manners(interval=0.0, attempts=4, back_off=0.001, timeout=5.0, patience=5.0)


class Provider:
    """A server of structures with pages of two.

    ``link`` writes ``links.next`` as an address ("string") or an object ("object"); ``faults`` are answers given
    once, in this order, before a page is served; ``deaf`` ignores filters.
    """

    def __init__(self, resources, *, link="string", info=None, deaf=False):
        self.resources, self.link, self.deaf = resources, link, deaf
        self.info = info if info is not None else {"api_version": "1.2.0"}
        self.faults: list[Answer | None] = []

    def __call__(self, base: str, request: Request) -> Answer:
        if request.path == "/base/v1/info":
            return Answer({"data": {"id": "/", "type": "info", "attributes": self.info}})
        if request.path != "/base/v1/structures":
            return Answer({"errors": [{"status": "404", "title": "Not found"}]}, 404)
        if self.faults and (fault := self.faults.pop(0)) is not None:
            return fault
        return self._page(base, request)

    def _page(self, base: str, request: Request) -> Answer:
        query = request.query
        if int(query["page_limit"]) > 500:
            return Answer({"errors": [{"status": "403", "detail": "page_limit too large"}]}, 403)
        found = [r for r in self.resources if self.deaf or fulfils(r["attributes"], query["filter"])]
        offset = int(query.get("page_offset", 0))
        fields = set(query["response_fields"].split(","))
        data = [
            {**r, "attributes": {k: v for k, v in r["attributes"].items() if k in fields}}
            for r in found[offset : offset + 2]
        ]
        following = None
        if offset + 2 < len(found):
            address = str(request_url(base, {**query, "page_offset": str(offset + 2)}))
            following = address if self.link == "string" else {"href": address, "meta": {}}
        meta = {"api_version": "1.2.0", "more_data_available": following is not None, "data_returned": len(found)}
        return Answer({"data": data, "links": {"next": following}, "meta": meta})


def request_url(base, query):
    import httpx

    return httpx.URL(f"{base}/base/v1/structures", params=query)


def fulfils(attributes, filter):
    """The part of the grammar that the client uses; anything else is an error, as on a real server."""
    for part in filter.split(" AND "):
        if match := re.fullmatch(r'elements HAS ALL ((?:"[A-Z][a-z]?",?)+)', part):
            if not set(re.findall(r'"(\w+)"', match[1])) <= set(attributes["elements"]):
                return False
        elif match := re.fullmatch(r"(nelements|nperiodic_dimensions|nsites)=(\d+)", part):
            if attributes[match[1]] != int(match[2]):
                return False
        else:
            raise AssertionError(part)
    return True


@pytest.fixture
def sulphides(mos2, sns) -> list[dict]:
    return [optimade_resource(f"s{n}", mos2) for n in range(5)] + [optimade_resource("other", sns)]


@contextmanager
def reading(provider, tmp_path, options="elements=Mo,S", manners=HASTE):
    with serving(provider) as server:
        yield (
            server,
            lambda: read_source(f"optimade:{server.url}/base?{options}", work=tmp_path / "work", manners=manners),
        )


@pytest.mark.parametrize("link", ["string", "object"])
def test_all_pages_of_a_query(tmp_path, sulphides, mos2, link):
    with reading(Provider(sulphides, link=link), tmp_path) as (server, read):
        entries, refusals = split(read())
        pages = server.asked("/base/v1/structures")
    assert [e.id for e in entries] == ["s0", "s1", "s2", "s3", "s4"]
    assert not refusals
    assert len(pages) == 3
    assert pages[0]["filter"] == 'elements HAS ALL "Mo","S" AND nelements=2'
    assert entries[0].url == f"{server.url}/base/v1/structures/s0"
    assert entries[0].version == "2024-05-17T08:00:00Z"
    assert_same(entries[0], mos2)


def test_two_dimensional_structures_without_a_third_vector(tmp_path, mos2):
    provider = Provider([optimade_resource("a", mos2, aperiodic=True)])
    with reading(provider, tmp_path, "elements=Mo,S&nperiodic_dimensions=2") as (server, read):
        (entry,) = read()
        assert server.asked("/base/v1/structures")[0]["filter"].endswith("AND nperiodic_dimensions=2")
    assert_same(entry, mos2)


def test_any_filter_of_the_grammar(tmp_path, sulphides):
    with reading(Provider(sulphides), tmp_path, "filter=nsites=4") as (server, read):
        assert [e.id for e in read()] == ["other"]
        assert server.asked("/base/v1/structures")[0]["filter"] == "nsites=4"


@pytest.mark.parametrize(
    ("info", "licence"),
    [
        ({"available_licenses": ["CC-BY-4.0"]}, "CC-BY-4.0"),
        ({"license": {"href": "https://example.org/terms"}}, "https://example.org/terms"),
        ({}, ""),
    ],
)
def test_the_server_states_its_licence(tmp_path, mos2, info, licence):
    with reading(Provider([optimade_resource("a", mos2)], info=info), tmp_path) as (_, read):
        (entry,) = read()
    assert entry.licence == licence


def test_a_known_provider_gives_its_database(tmp_path, mos2, monkeypatch):
    with serving(Provider([optimade_resource("1MoS2-1", mos2)])) as server:
        monkeypatch.setitem(optimade.PROVIDERS, "cmr", (f"{server.url}/base", "C2DB"))
        (entry,) = read_source("optimade:cmr?elements=Mo,S", work=tmp_path, manners=HASTE)
    assert (entry.source, entry.licence) == ("C2DB", "CC-BY-4.0")
    assert entry.url == "https://c2db.fysik.dtu.dk/material/1MoS2-1"


def test_other_providers_are_looked_up_in_the_list(tmp_path, mos2, monkeypatch):
    structures = Provider([optimade_resource("a", mos2)])

    def answer(base, request):
        links = {
            "/index/v1/links": [
                {"id": "gone", "type": "links", "attributes": {"base_url": None, "link_type": "external"}},
                {"id": "odbx", "type": "links", "attributes": {"base_url": f"{base}/odbx", "link_type": "external"}},
            ],
            "/odbx/v1/links": [
                {"id": "up", "type": "links", "attributes": {"base_url": f"{base}/up", "link_type": "root"}},
                {
                    "id": "gnome",
                    "type": "links",
                    "attributes": {"base_url": {"href": f"{base}/base"}, "link_type": "child"},
                },
            ],
        }
        return Answer({"data": links[request.path]}) if request.path in links else structures(base, request)

    with serving(answer) as server:
        monkeypatch.setattr(optimade, "INDEX", f"{server.url}/index")
        for name in ("odbx.gnome", "odbx"):
            assert [e.id for e in read_source(f"optimade:{name}?elements=Mo,S", work=tmp_path, manners=HASTE)] == ["a"]
        for name in ("nobody", "gone", "odbx.absent"):
            with pytest.raises(LibraryError, match="no such OPTIMADE provider"):
                list(read_source(f"optimade:{name}?elements=Mo,S", work=tmp_path, manners=HASTE))


def broken(attributes, **changes):
    return {**attributes, "attributes": {**attributes["attributes"], **changes}}


def test_what_is_no_ordered_whole_structure_is_refused_and_the_rest_goes_on(tmp_path, mos2):
    good = optimade_resource("good", mos2)
    species = good["attributes"]["species"]

    def kind(**changes):
        return [species[0], {**species[1], **changes}]

    wrong = {
        "alloy": {"species": kind(chemical_symbols=["S", "Se"], concentration=[0.5, 0.5])},
        "vacant": {"species": kind(chemical_symbols=["S", "vacancy"], concentration=[0.9, 0.1])},
        "partial": {"species": kind(concentration=[0.7])},
        "unknown": {"species": kind(chemical_symbols=["X"])},
        "methyl": {"species": kind(attached=["H"], nattached=[3])},
        "implicit": {"structure_features": ["implicit_atoms"]},
        "no positions": {"cartesian_site_positions": None},
        "molecule": {"lattice_vectors": [[None] * 3] * 3},
        "nan": {"lattice_vectors": [[float("nan"), 0, 0], [0, 3, 0], [0, 0, 20]]},
        "no such kind": {"species_at_sites": ["Mo", "Q", "S"]},
    }
    resources = [{**broken(good, **changes), "id": id} for id, changes in wrong.items()]
    with reading(Provider([*resources, good]), tmp_path) as (_, read):
        entries, refusals = split(read())
    assert [e.id for e in entries] == ["good"]
    assert {r.id: r.reason for r in refusals} == {
        "alloy": "disordered sites",
        "vacant": "disordered sites",
        "partial": "disordered sites",
        "unknown": "sites without a chemical element",
        "methyl": "incomplete structure: attached atoms",
        "implicit": "incomplete structure: implicit atoms",
        "no positions": "unreadable record",
        "molecule": "no cell",
        "nan": "not finite",
        "no such kind": "unreadable record",
    }


def test_a_server_that_ignores_filters_is_not_read_to_its_end(tmp_path, sulphides, sns):
    many = [optimade_resource(str(n), sns) for n in range(50)]
    with reading(Provider(many, deaf=True), tmp_path) as (server, read):
        with pytest.raises(LibraryError, match="does not support the filter"):
            list(read())
        assert len(server.asked("/base/v1/structures")) == 1
    with reading(Provider(sulphides[::-1], deaf=True), tmp_path) as (_, read):
        entries, refusals = split(read())
    assert len(entries) == 5
    assert [r.reason for r in refusals] == ["not asked for"]


def test_a_busy_server_is_waited_for_as_long_as_it_asks(tmp_path, sulphides):
    provider = Provider(sulphides)
    provider.faults = [
        Answer({"detail": "slow down"}, 429, {"Retry-After": "0.3"}),
        Answer(b"oops", 500),
        None,
        Answer(b"", 503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    ]
    with reading(provider, tmp_path) as (server, read):
        began = time.monotonic()
        assert len(list(read())) == 5
        assert time.monotonic() - began >= 0.3
        assert len(server.asked("/base/v1/structures")) == 6


def test_requests_keep_their_distance(tmp_path, sulphides):
    manners = Manners(interval=0.1, attempts=1, back_off=0.0)
    with reading(Provider(sulphides), tmp_path, manners=manners) as (_, read):
        began = time.monotonic()
        list(read())
        assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize(
    ("fault", "match"),
    [
        (Answer({"errors": [{"detail": "unknown property"}]}, 400), "unknown property"),
        (Answer({"detail": "later"}, 429, {"Retry-After": "86400"}), "asked to wait 86400 s"),
        (Answer(b"<html>", 200), "malformed page"),
        (Answer({"data": {"id": "a"}}), "malformed page"),
        (Answer({"data": [{"id": "a"}]}), "malformed page"),
        (Answer(b"[" * 100_000), "malformed page"),
        (Answer({"data": []}, cut=True), "RemoteProtocolError"),
    ],
)
def test_a_server_that_fails_for_good_is_given_up_with_its_reason(tmp_path, sulphides, fault, match):
    provider = Provider(sulphides)
    provider.faults = [fault] * 10
    with reading(provider, tmp_path) as (_, read), pytest.raises(LibraryError, match=match):
        list(read())


def test_pages_that_go_round_in_a_circle_end(tmp_path, sulphides):
    def answer(base, request):
        given = Provider(sulphides)(base, request)
        if "page_offset" in request.query:
            given.body["links"]["next"] = str(request_url(base, request.query))
        return given

    with reading(answer, tmp_path) as (_, read), pytest.raises(LibraryError, match="circle"):
        list(read())


def test_a_second_start_goes_on_after_the_last_complete_page(tmp_path, sulphides):
    provider = Provider(sulphides)
    provider.faults = [None, None, *[Answer({"data": []}, cut=True)] * 4]
    with reading(provider, tmp_path) as (server, read):
        with pytest.raises(LibraryError, match="complete pages are kept"):
            list(read())
        before = len(server.asked("/base/v1/structures"))
        entries, _ = split(read())
        assert [e.id for e in entries] == ["s0", "s1", "s2", "s3", "s4"]
        assert len(server.asked("/base/v1/structures")) == before + 1
        # A third start has all of it, and a damaged page is fetched again.
        assert len(list(read())) == 5
        assert len(server.asked("/base/v1/structures")) == before + 1
        (kept,) = (tmp_path / "work").iterdir()
        (kept / "00001.json.gz").write_bytes(b"damaged")
        assert len(list(read())) == 5
        assert len(server.asked("/base/v1/structures")) == before + 2


def test_old_pages_are_fetched_anew(tmp_path, sulphides):
    import os

    with reading(Provider(sulphides), tmp_path) as (server, read):
        list(read())
        (kept,) = (tmp_path / "work").iterdir()
        old = time.time() - KEEP - 60
        os.utime(kept / "00000.json.gz", (old, old))
        list(read())
        assert len(server.asked("/base/v1/structures")) == 6


def test_an_unreachable_server_and_an_unwritable_folder_are_said(tmp_path, sulphides):
    with serving(Provider(sulphides)) as server:
        pass
    with pytest.raises(LibraryError, match="ConnectError"):
        list(read_source(f"optimade:{server.url}/base?elements=Mo", work=tmp_path, manners=HASTE))
    (tmp_path / "work").write_text("in the way")
    with reading(Provider(sulphides), tmp_path) as (_, read), pytest.raises(LibraryError, match="cannot be kept"):
        list(read())


@pytest.mark.parametrize(
    "text",
    [
        "optimade:",
        "optimade:cmr",
        "optimade:cmr?",
        "optimade:cmr?element=Mo",
        "optimade:cmr?elements=Mo,Xx",
        "optimade:cmr?elements=",
        'optimade:cmr?elements=Mo" OR nelements>0 OR elements HAS "S',
        "optimade:cmr?nperiodic_dimensions=two",
        "optimade:cmr?filter=a=1&elements=Mo",
        "https://example.org/c2db.db",
    ],
)
def test_a_wrong_query_is_refused_before_anything_is_asked(text):
    with pytest.raises(LibraryError):
        read_source(text)


def test_a_local_file_may_be_named_by_a_string(tmp_path, mos2: Structure):
    mos2.to(filename=str(tmp_path / "a.cif"))
    assert [e.id for e in read_source(str(tmp_path / "a.cif"))] == ["a"]
