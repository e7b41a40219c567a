"""Whatever a source holds, reading it ends in entries, refusals or one LibraryError: never in a traceback or a file."""

import io
import json
import math
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from published import jarvis_item, optimade_resource, twodmatpedia_document
from pymatgen.core import Lattice, Structure
from strategies import corrupted, json_values, slabs

from library.cleaning import CleaningError, clean
from library.sources import Entry, Refusal, read_source
from library.sources.optimade import Query, _item
from library.sources.published import Database
from microscopy.errors import LibraryError
from microscopy.slab import slab

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))

LAYER = slab(
    Structure(
        Lattice.from_parameters(3.16, 3.16, 22, 90, 90, 120, vesta=True),
        ["Mo", "S", "S"],
        [[1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.57], [2 / 3, 1 / 3, 0.43]],
    )
)


def extxyz(structure: Structure) -> bytes:
    lattice = " ".join(f"{x:.6f}" for x in structure.lattice.matrix.ravel())
    sites = "".join(f"{s.specie.symbol} {s.x:.6f} {s.y:.6f} {s.z:.6f}\n" for s in structure)
    return f'{len(structure)}\nLattice="{lattice}" Properties=species:S:1:pos:R:3 pbc="T T F"\n{sites}'.encode()


def zipped(names: list[str], content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, name in enumerate(names):
            archive.writestr(f"{name or '-'}{number}.cif", content)
    return stream.getvalue()


FILES = {
    "a.cif": LAYER.to(fmt="cif").encode(),
    "POSCAR": LAYER.to(fmt="poscar").encode(),
    "a.extxyz": extxyz(LAYER) * 2,
    "db.json": json.dumps(twodmatpedia_document("2dm-1", LAYER)).encode(),
    "d2.json": json.dumps([jarvis_item("JVASP-1", LAYER)]).encode(),
    "a.zip": zipped(["x/a", "../../b", "/c"], LAYER.to(fmt="cif").encode()),
}


def consume(name: str, content: bytes) -> list[Entry | Refusal]:
    """Read a file alone in a folder; whatever comes is cleaned, and nothing else may be there afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in" / name
        path.parent.mkdir()
        path.write_bytes(content)
        items, message = [], ""
        try:
            items = list(read_source(path))
        except LibraryError as error:
            message = str(error)
        assert "\n" not in message
        assert [p.relative_to(folder).as_posix() for p in Path(folder).rglob("*")] == ["in", f"in/{name}"]
    for item in items:
        assert item.id.isprintable()
        if isinstance(item, Refusal):
            assert item.reason
            assert item.detail.isprintable()
        else:
            cleaned_or_refused(item.structure)
    return items


def cleaned_or_refused(structure: Structure) -> None:
    try:
        layer = clean(structure)
    except CleaningError:
        return
    assert np.isfinite(layer.lattice.matrix).all()
    assert np.isfinite(layer.frac_coords).all()


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_good_before_they_are_broken(name):
    items = consume(name, FILES[name])
    assert items
    assert all(isinstance(item, Entry) for item in items)


@pytest.mark.parametrize("name", FILES)
@QUICK
@given(data=st.data())
def test_broken_bytes(name, data):
    consume(name, data.draw(corrupted(FILES[name])))


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@LONG
@given(data=st.data())
def test_many_broken_bytes(name, data):
    consume(name, data.draw(corrupted(FILES[name])))


@pytest.mark.parametrize("name", FILES)
@QUICK
@given(content=st.binary(max_size=300))
def test_any_bytes(name, content):
    consume(name, content)


@QUICK
@given(
    names=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20), min_size=1, max_size=4)
)
@example(names=["../../../escape", "/etc/escape", "C:\\escape", "..\\..\\escape", "a\nb"])
def test_any_names_in_an_archive_stay_in_memory(names):
    items = consume("a.zip", zipped(names, FILES["a.cif"]))
    assert len(items) == len(names)
    assert not any(part in ("..", "") for item in items for part in item.id.split("/"))


@pytest.mark.parametrize("form", ["jarvis", "2dmatpedia"])
@QUICK
@given(data=st.data(), value=json_values())
def test_any_value_in_the_place_of_a_record_s(form, data, value):
    record = jarvis_item("JVASP-1", LAYER) if form == "jarvis" else twodmatpedia_document("2dm-1", LAYER)
    replace_somewhere(record, value, data)
    consume("x.json", json.dumps([record, jarvis_item("JVASP-2", LAYER)]).encode())


@QUICK
@given(data=st.data(), value=json_values())
def test_any_value_in_an_optimade_answer(data, value):
    record = optimade_resource("a", LAYER)
    replace_somewhere(record["attributes"], value, data)
    item = _item(record, Query("x", ""), "https://example.org", Database("x"))
    if isinstance(item, Entry):
        cleaned_or_refused(item.structure)


def replace_somewhere(record, value, data) -> None:
    """Put a value in the place of any other, at any depth."""
    keys = sorted(record) if isinstance(record, dict) else range(len(record))
    key = data.draw(st.sampled_from(list(keys)))
    inner = record[key]
    if isinstance(inner, dict | list) and inner and data.draw(st.booleans()):
        replace_somewhere(inner, value, data)
    else:
        record[key] = value


@QUICK
@given(
    rows=st.lists(st.lists(st.floats(width=64), min_size=3, max_size=3), min_size=3, max_size=3),
    positions=st.lists(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3), min_size=1, max_size=6),
)
@example(rows=[[1e300, 0, 0], [0, 1e300, 0], [0, 0, 1e300]], positions=[[0, 0, 0]])
@example(rows=[[1e-3, 0, 0], [0, 3e3, 0], [0, 0, 4e2]], positions=[[0, 0, 0]] * 6)
@example(rows=[[3, 0, 0], [3, 1e-9, 0], [0, 0, 20]], positions=[[0, 0, 0]])
@example(rows=[[math.nan, 0, 0], [0, 3, 0], [0, 0, 20]], positions=[[0, 0, 0]])
def test_any_cell_is_cleaned_or_refused(rows, positions):
    item = jarvis_item("JVASP-1", LAYER)
    item["atoms"] |= {"lattice_mat": rows, "coords": positions, "elements": ["C"] * len(positions), "cartesian": True}
    consume("x.json", json.dumps([item]).encode())


@QUICK
@given(layer=slabs(), scale=st.floats(0.01, 100))
def test_any_scale_is_cleaned_or_refused(layer, scale):
    cleaned_or_refused(Structure(Lattice(layer.lattice.matrix * scale), layer.species, layer.frac_coords))


def test_a_bomb_takes_bounded_memory():
    bomb = zipped(["a"] * 3, b"0" * 60_000_000)
    tracemalloc.start()
    try:
        items = consume("a.zip", bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [item.reason for item in items if isinstance(item, Refusal)] == ["file too large"] * 3
    assert peak < 100_000_000
