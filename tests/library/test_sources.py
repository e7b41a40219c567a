import io
import random
import tarfile
import zipfile
from pathlib import Path

import pytest
from ase.db import connect
from published import assert_same, split
from pymatgen.io.ase import AseAtomsAdaptor

from library.sources import Entry, archives, bounded, read_source
from microscopy.errors import LibraryError

DATABASE = Path(__file__).parents[3] / "shared/data/structures/2dmatpedia_1224.db"


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


def test_a_foreign_sqlite_file_is_refused_and_left_as_it_was(tmp_path):
    import sqlite3

    path = tmp_path / "mail.db"
    connection = sqlite3.connect(path)
    connection.execute("create table letters (text)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(LibraryError, match="not of ASE's form"):
        read_source(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["mail.db"]


def test_a_layer_without_a_vector_across_it_gets_vacuum(tmp_path, mos2):
    from ase.io import write

    atoms = AseAtomsAdaptor.get_atoms(mos2, msonable=False)
    atoms.set_cell([atoms.cell[0], atoms.cell[1], [0, 0, 0]])
    atoms.pbc = (True, True, False)
    write(tmp_path / "flat.extxyz", atoms)
    with connect(tmp_path / "flat.db", type="db") as database:
        database.write(atoms)
    for name in ("flat.extxyz", "flat.db"):
        (entry,) = read_source(tmp_path / name)
        assert_same(entry, mos2)


def test_every_file_is_its_own_version(folder):
    versions = [e.version for e in read_source(folder) if isinstance(e, Entry)]
    assert len(set(versions)) == 2
    assert all(version.startswith("sha256:") for version in versions)


def test_a_broken_frame_or_block_does_not_stop_the_rest(tmp_path, mos2):
    frame = '3\nLattice="3 0 0 0 3 0 0 0 20"\nMo 0 0 10\nS 1.5 1.5 11.5\nS 1.5 1.5 8.5\n'
    (tmp_path / "a.extxyz").write_text(frame + frame.replace("Mo", "Qq") + frame + "x\n")
    assert [type(i).__name__ for i in read_source(tmp_path / "a.extxyz")] == ["Entry", "Refusal", "Entry", "Refusal"]
    block = mos2.to(fmt="cif")
    (tmp_path / "b.cif").write_text(block + block.replace("_cell_length_a", "_cell_lengthy") + block)
    assert [type(i).__name__ for i in read_source(tmp_path / "b.cif")] == ["Entry", "Refusal", "Entry"]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("POSCAR_a", "x\n1\n3 0 0\n0 3 0\n0 0 20\nC\n9999999999\ndirect\n0 0 0\n", "too many atoms"),
        ("POSCAR_b", "x\n1\n3 0 0\n0 3 0\n0 0 20\n1 1\ndirect\n0 0 0.5\n.5 .5 .5\n", "unreadable file"),
        ("a.extxyz", "999999999\n\nC 0 0 0\n", "too many atoms"),
        ("b.extxyz", '1\nLattice="3 0 0 0 3 0 0 0 20" Properties=a:R:999999999\nC\n', "unreadable file"),
        ("c.xyz", "1\nno cell\nC 0 0 0\n", "no cell"),
        ("d.extxyz", '1\nLattice="nan 0 0 0 3 0 0 0 20"\nC 0 0 0\n', "not finite"),
        ("e.extxyz", '1\nLattice="3 0 0 0 3 0 0 0 20"\nX 0 0 0\n', "sites without a chemical element"),
        ("f.cif", "data_" + "x" * 3_000_000, "file too large"),
        ("g.cif", "data_x\nloop_\n_symmetry_equiv_pos_as_xyz\n" + "'x,y,z'\n" * 1000, "unreadable file"),
        ("h.cif", "data_x\nloop_\n_atom_site_fract_x\n" + "0.1\n" * 1000, "too many atoms"),
    ],
)
def test_files_that_would_take_the_memory_or_be_guessed_at_are_refused(tmp_path, name, text, reason):
    (tmp_path / name).write_text(text)
    assert [r.reason for r in read_source(tmp_path / name)] == [reason]


def test_names_that_are_no_text_are_made_readable(tmp_path, mos2):
    import os

    text = mos2.to(fmt="cif").encode()
    (tmp_path / "two\nlines.cif").write_bytes(text)
    with open(os.fsencode(tmp_path) + b"/\xff\xfe.cif", "wb") as stream:  # noqa: PTH123 - no text, no Path
        stream.write(text)
    assert sorted(e.id for e in read_source(tmp_path)) == ["??", "two?lines"]


def test_links_out_of_a_folder_and_devices_are_not_followed(tmp_path, mos2):
    import os

    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    mos2.to(filename=str(outside / "secret.cif"))
    mos2.to(filename=str(inside / "real.cif"))
    (inside / "link.cif").symlink_to(outside / "secret.cif")
    (inside / "near.cif").symlink_to("real.cif")
    (inside / "nowhere.cif").symlink_to("absent")
    (inside / "loop.cif").symlink_to("loop.cif")
    (inside / "zero.cif").symlink_to("/dev/zero")
    (inside / "folder").symlink_to(outside)
    (inside / "out.db").symlink_to(outside / "secret.cif")
    os.mkfifo(inside / "pipe.cif")
    os.mkfifo(inside / "pipe.json")
    entries, refusals = split(read_source(inside))
    assert [e.id for e in entries] == ["near", "real"]
    assert {r.id: r.reason for r in refusals} == {
        "link": "link out of the folder",
        "loop": "unreadable file",
        "nowhere": "unreadable file",
        "out.db": "link out of the folder",
        "pipe": "not an ordinary file",
        "pipe.json": "not an ordinary file",
        "zero": "link out of the folder",
    }
    with pytest.raises(LibraryError, match="not an ordinary file"):
        read_source(inside / "pipe.cif")


def test_files_that_may_not_be_read_are_refused(folder):
    import os

    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (folder / "mos2.cif").chmod(0)
    (folder / "sub").chmod(0)
    try:
        entries, refusals = split(read_source(folder))
        assert not entries
        assert {"unreadable file", "unreadable folder"} <= {r.reason for r in refusals}
        with pytest.raises(LibraryError, match="cannot be read"):
            read_source(folder / "mos2.cif")
    finally:
        (folder / "mos2.cif").chmod(0o600)
        (folder / "sub").chmod(0o700)


def tar_of(members, name):
    """Write (header, content) pairs as an archive."""
    with tarfile.open(name, "w:gz" if str(name).endswith("gz") else "w") as archive:
        for header, content in members:
            info = tarfile.TarInfo(header) if isinstance(header, str) else header
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return name


def test_tar_archives_are_read_without_links_and_devices(tmp_path, mos2):
    text = mos2.to(fmt="cif").encode()
    link, device = tarfile.TarInfo("link.cif"), tarfile.TarInfo("device.cif")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    device.type = tarfile.CHRTYPE
    members = [
        ("../../escape.cif", text),
        (link, b""),
        (device, b""),
        ("/abs/broken.cif", b"data_x"),
        ("readme", random.Random(1).randbytes(30_000)),
    ]
    path = tar_of(members, tmp_path / "all.tar.gz")
    entries, refusals = split(read_source(path))
    assert [e.id for e in entries] == ["escape"]
    assert [(r.id, r.reason) for r in refusals] == [("abs/broken", "unreadable file")]
    assert [p.name for p in tmp_path.iterdir()] == ["all.tar.gz"]
    path.write_bytes(path.read_bytes()[:-20])
    assert "unreadable file" in [r.reason for r in split(read_source(path))[1]]


def test_bombs_in_archives_are_refused(tmp_path, mos2, monkeypatch):
    text = mos2.to(fmt="cif").encode()
    monkeypatch.setattr(bounded, "MAX_TOTAL", 3_000_000)
    with zipfile.ZipFile(tmp_path / "total.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for n in range(5):
            archive.writestr(f"{n}.cif", text + b"#" * 1_000_000)
    entries, refusals = split(read_source(tmp_path / "total.zip"))
    assert (len(entries), [r.reason for r in refusals]) == (2, ["archive too large"])
    tar = tar_of([("a.cif", text), ("zeros", bytes(5_000_000)), ("b.cif", text)], tmp_path / "total.tar.gz")
    entries, refusals = split(read_source(tar))
    assert ([e.id for e in entries], [r.reason for r in refusals]) == (["a"], ["archive too large"])
    name = tarfile.TarInfo("x")
    name.type = tarfile.GNUTYPE_LONGNAME
    tar_of([("a.cif", text), (name, bytes(2_000_000))], tmp_path / "name.tar.gz")
    assert [r.reason for r in split(read_source(tmp_path / "name.tar.gz"))[1]] == ["unreadable file"]
    with zipfile.ZipFile(tmp_path / "nested.zip", "w") as archive:
        archive.write(tmp_path / "total.zip", "inner.zip")
        archive.writestr("a.cif", text)
    entries, refusals = split(read_source(tmp_path / "nested.zip"))
    assert ([e.id for e in entries], [r.reason for r in refusals]) == (["a"], ["archive inside an archive"])
    monkeypatch.setattr(archives, "MAX_MEMBERS", 1)
    with pytest.raises(LibraryError, match="more than 1 files"):
        list(read_source(tmp_path / "nested.zip"))


def test_an_encrypted_or_damaged_member_does_not_stop_the_rest(tmp_path, mos2):
    text = mos2.to(fmt="cif")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.cif", text)
        archive.writestr("b.cif", text)
        archive.writestr("c.cif", text)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[data.index(b"_cell_length_a") + 20] ^= 1  # the checksum of the first member fails
    central = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    data[central + 8] |= 1  # the second claims to be encrypted
    (tmp_path / "a.zip").write_bytes(data)
    entries, refusals = split(read_source(tmp_path / "a.zip"))
    assert [e.id for e in entries] == ["c"]
    assert [(r.id, r.reason) for r in refusals] == [("a", "unreadable file"), ("b", "unreadable file")]


def test_a_cif_that_leaves_hydrogen_out_is_refused(tmp_path, mos2):
    text = mos2.to(fmt="cif").replace(" _atom_site_occupancy", " _atom_site_occupancy\n _atom_site_attached_hydrogens")
    lines = [f"{line}  1" if line.lstrip().startswith(("Mo  ", "S  ")) else line for line in text.splitlines()]
    (tmp_path / "a.cif").write_text("\n".join(lines))
    assert [r.reason for r in read_source(tmp_path / "a.cif")] == ["incomplete structure: implicit hydrogens"]
