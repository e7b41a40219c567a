"""2DMatPedia's, JARVIS's and MC2D's files, written in their real form from the tests' own structures."""

import gzip
import json
import zipfile
from pathlib import Path
from uuid import UUID

import pytest
from published import assert_same, jarvis_item, split, twodmatpedia_document

from library.sources import bounded, read_source
from microscopy.errors import LibraryError


@pytest.fixture
def db_json(tmp_path, mos2, sns) -> Path:
    lines = [json.dumps(twodmatpedia_document(f"2dm-{n}", s)) for n, s in enumerate((mos2, sns))]
    path = tmp_path / "db.json"
    path.write_text("\n".join([lines[0], "{broken", "", lines[1]]) + "\n")
    return path


def test_2dmatpedia(db_json, mos2, sns):
    entries, refusals = split(read_source(db_json))
    assert [(e.id, e.source, e.licence) for e in entries] == [
        ("2dm-0", "2DMatPedia", "CC-BY-4.0"),
        ("2dm-1", "2DMatPedia", "CC-BY-4.0"),
    ]
    assert entries[0].url == "http://www.2dmatpedia.org/2dmaterials/doc/2dm-0"
    assert entries[0].version.startswith("sha256:")
    assert [(r.id, r.reason) for r in refusals] == [("db.json#1", "unreadable record")]
    assert_same(entries[0], mos2)
    assert_same(entries[1], sns)


def test_2dmatpedia_as_published_in_gzip(db_json, sns):
    packed = db_json.with_name("db.json.gz")
    packed.write_bytes(gzip.compress(db_json.read_bytes()))
    entries, _ = split(read_source(packed))
    assert [e.id for e in entries] == ["2dm-0", "2dm-1"]
    packed.write_bytes(packed.read_bytes()[:-40])
    entries, refusals = split(read_source(packed))
    assert "unreadable file" in [r.reason for r in refusals]


def test_a_record_names_no_class_to_import(tmp_path, mos2):
    document = twodmatpedia_document("2dm-1", mos2)
    document["structure"]["sites"][0]["properties"] = {"trap": {"@module": "antigravity", "@class": "x"}}
    (tmp_path / "db.json").write_text(json.dumps(document))
    (entry,) = read_source(tmp_path / "db.json")
    assert entry.id == "2dm-1"
    assert not entry.structure.site_properties.get("trap")


def test_disorder_in_a_record_is_kept_for_the_cleaning_to_refuse(tmp_path, mos2):
    document = twodmatpedia_document("2dm-1", mos2)
    document["structure"]["sites"][1]["species"] = [{"element": "S", "occu": 0.5}, {"element": "Se", "occu": 0.5}]
    (tmp_path / "db.json").write_text(json.dumps(document))
    (entry,) = read_source(tmp_path / "db.json")
    assert not entry.structure.is_ordered


@pytest.mark.parametrize("cartesian", [False, True])
def test_jarvis(tmp_path, mos2, sns, cartesian):
    items = [jarvis_item(f"JVASP-{n}", s, cartesian) for n, s in enumerate((mos2, sns))]
    broken = jarvis_item("JVASP-9", mos2)
    broken["atoms"]["coords"] = [[0, 0]]
    (tmp_path / "d2-12-12-2022.json").write_text(json.dumps([items[0], broken, items[1], "no record"], indent=1))
    entries, refusals = split(read_source(tmp_path / "d2-12-12-2022.json"))
    assert [(e.id, e.source, e.licence) for e in entries] == [
        ("JVASP-0", "JARVIS-DFT", "CC-BY-4.0"),
        ("JVASP-1", "JARVIS-DFT", "CC-BY-4.0"),
    ]
    assert [(r.id, r.reason) for r in refusals] == [
        ("JVASP-9", "unreadable record"),
        ("d2-12-12-2022.json#3", "unknown kind of record"),
    ]
    assert_same(entries[0], mos2)
    assert_same(entries[1], sns)


def test_jarvis_as_its_tools_distribute_it(tmp_path, mos2):
    with zipfile.ZipFile(tmp_path / "d2.json.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("d2.json", json.dumps([jarvis_item("JVASP-1", mos2)]))
    (entry,) = read_source(tmp_path / "d2.json.zip")
    assert (entry.id, entry.source) == ("JVASP-1", "JARVIS-DFT")


def test_a_list_is_read_in_pieces(tmp_path, mos2, monkeypatch):
    monkeypatch.setattr(bounded, "CHUNK", 700)
    items = [jarvis_item(f"JVASP-{n}", mos2) for n in range(20)]
    (tmp_path / "d2.json").write_text(json.dumps(items))
    entries, refusals = split(read_source(tmp_path / "d2.json"))
    assert (len(entries), refusals) == (20, [])


@pytest.fixture
def mc2d(tmp_path, mos2, sns) -> Path:
    folder = tmp_path / "mc2d"
    structures = folder / "optimized_2d_structures"
    structures.mkdir(parents=True)
    uuids = [str(UUID(int=n)) for n in range(4)]
    for uuid, structure in zip(uuids, (mos2, sns), strict=False):
        structure.to(filename=str(structures / f"{uuid}.cif"))
    (structures / f"{uuids[2]}.cif").write_text("data_x\n")
    parents = [{"formula": "MoS2", "spg": "P6_3/mmc", "db_id": "24000", "source_db": "ICSD"}]
    records = [
        {"formula": "x", "all_3D_parents": parents, "number_of_atoms": 3, "optimized_2D_structure_uuid": uuid}
        for uuid in [*uuids, None, "../../../etc/passwd"]
    ]
    (folder / "structure_2d.json").write_text(json.dumps(records))
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_mc2d(mc2d, mos2, sns, packed):
    structures = mc2d / "optimized_2d_structures"
    if packed:
        with zipfile.ZipFile(f"{structures}.zip", "w") as archive:
            for path in structures.iterdir():
                archive.write(path, f"optimized_2d_structures/{path.name}")
                path.unlink()
        structures.rmdir()
    for source in (mc2d, mc2d / "structure_2d.json"):
        entries, refusals = split(read_source(source))
        assert [(e.id, e.source, e.licence) for e in entries] == [
            (str(UUID(int=0)), "MC2D", "CC-BY-4.0"),
            (str(UUID(int=1)), "MC2D", "CC-BY-4.0"),
        ]
        assert len(refusals) == 4
        assert {"not relaxed as a monolayer", "unreadable record"} < {r.reason for r in refusals}
    assert_same(entries[0], mos2)
    assert_same(entries[1], sns)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[{"jid": "JVASP-1", "atoms": {}', "unreadable file"),
        ("[" * 100_000, "unreadable file"),
        ("{" * 100_000, "unreadable record"),
        ('{"a": ' * 50_000, "unreadable record"),
        ('{"some": "settings"}', "unknown kind of record"),
        ("", "no structure in file"),
        (" \n\n", "no structure in file"),
        ("[]", "no structure in file"),
    ],
)
def test_broken_json_is_refused(tmp_path, text, reason):
    (tmp_path / "x.json").write_text(text)
    assert [r.reason for r in read_source(tmp_path / "x.json")] == [reason]


def test_numbers_that_are_none_are_refused(tmp_path, mos2):
    wrong = [jarvis_item(f"JVASP-{n}", mos2) for n in range(4)]
    wrong[0]["atoms"]["lattice_mat"][0][0] = float("nan")
    wrong[1]["atoms"]["coords"][0][0] = float("inf")
    wrong[2]["atoms"]["elements"] = ["Mo"] * 401
    wrong[3]["atoms"]["lattice_mat"] = [[1.0, 0, 0]] * 3
    (tmp_path / "d2.json").write_text(json.dumps(wrong))
    assert [r.reason for r in read_source(tmp_path / "d2.json")] == [
        "not finite",
        "not finite",
        "too many atoms",
        "degenerate or enormous cell",
    ]


def test_an_enormous_record_is_refused_in_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "MAX_FILE", 10_000)
    packed = tmp_path / "bomb.json.gz"
    packed.write_bytes(gzip.compress(b"[" + b'"' + b"x" * 5_000_000))
    assert [r.reason for r in read_source(packed)] == ["unreadable file"]
    packed.write_bytes(gzip.compress(b'{"a": "' + b"x" * 5_000_000))
    assert [r.reason for r in read_source(packed)] == ["unreadable file"]


def test_what_cannot_be_opened_is_said(tmp_path):
    with pytest.raises(LibraryError, match="no such file"):
        read_source(tmp_path / "absent.json")
