"""The Materials Project's API: a local server that pages, counts and checks keys as the real one does."""

import pytest
from json_server import Answer, serving
from published import assert_same, pymatgen_record, split

from library.sources import Manners, materials_project, read_source
from microscopy.errors import LibraryError

HASTE = Manners(interval=0.0, attempts=3, back_off=0.001, timeout=5.0, patience=5.0)
KEY = "a" * 32


@pytest.fixture
def materials(mos2) -> list[dict]:
    licences = ["BY-C", "BY-NC", None]
    return [
        {
            "material_id": f"mp-{number}",
            "structure": pymatgen_record(mos2),
            "builder_meta": {"database_version": "2025.09.25", "license": licence},
            "last_updated": {"$date": "2025-09-25T00:00:00Z"},
        }
        for number, licence in enumerate(licences)
    ]


def api(materials, faults=()):
    left = list(faults)

    def answer(base, request):
        if request.headers.get("x-api-key") != KEY:
            return Answer({"message": "Invalid authentication credentials"}, 403)
        assert request.path == "/materials/summary/"
        assert request.query["_fields"] == "material_id,structure,builder_meta,last_updated"
        if left:
            return left.pop(0)
        skip, limit = int(request.query["_skip"]), int(request.query["_limit"])
        found = materials if request.query["chemsys"] == "Mo-S" else []
        meta = {"api_version": "0.86", "total_doc": len(found), "time_stamp": "2026-01-01T00:00:00"}
        return Answer({"data": found[skip : skip + limit], "meta": meta})

    return answer


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.setattr(materials_project, "PAGE", 2)
    monkeypatch.setenv("MP_API_KEY", KEY)

    def reader(server, query="S-Mo"):
        monkeypatch.setenv("MP_API_ENDPOINT", server.url)
        return read_source(f"mp:{query}", work=tmp_path / "work", manners=HASTE)

    return reader


def test_all_pages_of_a_chemical_system(read, materials, mos2):
    with serving(api(materials)) as server:
        entries, refusals = split(read(server))
        assert [query["_skip"] for query in server.asked("/materials/summary/")] == ["0", "2"]
        assert split(read(server, "W-Se")) == ([], [])
    assert [(e.id, e.licence, e.version) for e in entries] == [
        ("mp-0", "CC-BY-4.0", "2025.09.25"),
        ("mp-1", "CC-BY-NC-4.0", "2025.09.25"),
        ("mp-2", "CC-BY-4.0", "2025.09.25"),
    ]
    assert not refusals
    assert entries[0].url == "https://next-gen.materialsproject.org/materials/mp-0"
    assert_same(entries[0], mos2)


def test_a_broken_record_does_not_stop_the_rest(read, materials):
    del materials[1]["structure"]["lattice"]
    with serving(api(materials)) as server:
        entries, refusals = split(read(server))
    assert [e.id for e in entries] == ["mp-0", "mp-2"]
    assert [(r.id, r.reason) for r in refusals] == [("mp-1", "unreadable record")]


def test_it_goes_on_after_a_busy_server_and_after_an_end(read, materials):
    busy = Answer({"message": "API rate limit exceeded"}, 429, {"Retry-After": "0.01"})
    first = {"data": materials[:2], "meta": {"total_doc": 3}}
    with serving(api(materials, [busy, Answer(first), *[Answer(b"{", 200)] * 3])) as server:
        with pytest.raises(LibraryError, match="malformed page"):
            list(read(server))
        asked = len(server.requests)
        assert len(list(read(server))) == 3
        assert [r.query["_skip"] for r in server.requests[asked:]] == ["2"]


def test_the_key_is_needed_and_stays_with_its_server(read, materials, monkeypatch):
    with serving(api(materials)) as server:
        monkeypatch.setenv("MP_API_KEY", "b" * 32)
        with pytest.raises(LibraryError, match="refuses the key in MP_API_KEY"):
            list(read(server))
        for missing in ("", "not a key\n"):
            monkeypatch.setenv("MP_API_KEY", missing)
            with pytest.raises(LibraryError, match="set MP_API_KEY"):
                read(server)
        monkeypatch.setenv("MP_API_KEY", KEY)
        with serving(lambda base, request: Answer({}, 302, {"Location": f"{server.url}/elsewhere"})) as other:
            asked = len(server.requests)
            with pytest.raises(LibraryError, match="HTTP 302"):
                list(read(other))
            assert len(server.requests) == asked


def test_the_key_is_written_nowhere(read, materials, tmp_path):
    with serving(api(materials)) as server:
        list(read(server))
    import gzip

    kept = [gzip.decompress(path.read_bytes()).decode() for path in tmp_path.rglob("*.gz")]
    assert len(kept) == 2
    assert not any(KEY in text for text in kept)


@pytest.mark.parametrize("query", ["", "Mo-Xx", "MoS2", "Mo-S,", "../x"])
def test_what_is_no_chemical_system_is_refused(query):
    with pytest.raises(LibraryError, match="not a chemical element"):
        read_source(f"mp:{query}")
