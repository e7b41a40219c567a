import zipfile
from pathlib import Path

import pytest
from ase.db import connect
from pymatgen.io.ase import AseAtomsAdaptor

from library.sources import Entry, Refusal, bounded, read_source
from microscopy.errors import LibraryError

DATABASE = Path(__file__).parents[3] / "shared/data/structures/2dmatpedia_1224.db"


def split(items) -> tuple[list[Entry], list[Refusal]]:
    everything = list(items)
    return [i for i in everything if isinstance(i, Entry)], [i for i in everything if isinstance(i, Refusal)]


@pytest.fixture
def folder(tmp_path, mos2, sns):
    (tmp_path / "sub").mkdir()
    mos2.to(filename=str(tmp_path / "mos2.cif"))
    sns.to(filename=str(tmp_path / "sub" / "POSCAR_sns"), fmt="poscar")
    (tmp_path / "broken.cif").write_text("data_x\n_cell_length_a 3.1\nloop_\n")
    (tmp_path / "empty.cif").write_text("")
    (tmp_path / "binary.cif").write_bytes(bytes(range(256)))
    (tmp_path / "notes.txt").write_text("not a structure")
    return tmp_path


def test_broken_files_do_not_stop_the_rest(folder):
    entries, refusals = split(read_source(folder))
    assert [(e.id, e.structure.composition.reduced_formula) for e in entries] == [
        ("mos2", "MoS2"),
        ("sub/POSCAR_sns", "SnS"),
    ]
    assert sorted(r.id for r in refusals) == ["binary", "broken", "empty"]
    assert all(r.reason for r in refusals)


def test_single_files(tmp_path, mos2, sns):
    frames = [AseAtomsAdaptor.get_atoms(s) for s in (mos2, sns)]
    mos2.to(filename=str(tmp_path / "one.vasp"), fmt="poscar")
    from ase.io import write

    write(tmp_path / "two.extxyz", frames)
    assert [e.id for e in read_source(tmp_path / "one.vasp")] == ["one"]
    entries, refusals = split(read_source(tmp_path / "two.extxyz"))
    assert not refusals
    assert [(e.id, len(e.structure)) for e in entries] == [("two#0", 3), ("two#1", 4)]


def test_zip_members_are_read_in_memory(folder, tmp_path, monkeypatch):
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as stream:
        stream.write(folder / "mos2.cif", "../../escape.cif")
        stream.write(folder / "broken.cif", "broken.cif")
        stream.writestr("bomb.cif", b"0" * 200_000)
    monkeypatch.setattr(bounded, "MAX_FILE", 100_000)
    entries, refusals = split(read_source(archive))
    assert [e.id for e in entries] == ["escape"]
    assert {r.id: r.reason for r in refusals} == {"bomb": "file too large", "broken": "unreadable file"}
    assert not (tmp_path.parent.parent / "escape.cif").exists()


@pytest.mark.parametrize(
    ("data", "keys", "expected"),
    [
        ({"material_id": "2dm-1"}, {}, ("2dm-1", "2DMatPedia", "http://www.2dmatpedia.org/2dmaterials/doc/2dm-1")),
        ({}, {"uid": "1MoS2-1"}, ("1MoS2-1", "C2DB", "https://c2db.fysik.dtu.dk/material/1MoS2-1")),
        ({}, {}, ("rows-1", "rows.db", "")),
    ],
)
def test_ase_databases(tmp_path, mos2, data, keys, expected):
    with connect(tmp_path / "rows.db", type="db") as database:
        database.write(AseAtomsAdaptor.get_atoms(mos2, msonable=False), data=data, **keys)
    (entry,) = read_source(tmp_path / "rows.db")
    assert (entry.id, entry.source, entry.url) == expected
    assert entry.structure.composition.reduced_formula == "MoS2"


def test_a_bad_row_does_not_stop_the_rest(tmp_path, mos2):
    import sqlite3

    path = tmp_path / "rows.db"
    with connect(path, type="db") as database:
        for number in range(3):
            database.write(AseAtomsAdaptor.get_atoms(mos2, msonable=False), data={"material_id": f"2dm-{number}"})
    connection = sqlite3.connect(path)
    connection.execute("update systems set numbers = x'00' where id = 2")
    connection.commit()
    connection.close()
    entries, refusals = split(read_source(path))
    assert [e.id for e in entries] == ["2dm-0", "2dm-2"]
    assert [r.reason for r in refusals] == ["unreadable row"]


def test_real_2dmatpedia_rows():
    if not DATABASE.exists():
        pytest.skip("the 2DMatPedia database is not beside the repository")
    items = read_source(DATABASE)
    entries = [next(items) for _ in range(5)]
    assert all(isinstance(e, Entry) and e.source == "2DMatPedia" and e.id.startswith("2dm-") for e in entries)
    assert entries[0].structure.composition.reduced_formula == "SiBr4"


def test_what_is_no_source_is_refused(tmp_path):
    (tmp_path / "fake.db").write_text("text")
    (tmp_path / "fake.zip").write_text("text")
    (tmp_path / "image.tif").write_text("text")
    (tmp_path / "nothing").mkdir()
    for name in ("absent.cif", "fake.db", "fake.zip", "image.tif", "nothing"):
        with pytest.raises(LibraryError, match=name):
            list(read_source(tmp_path / name))
