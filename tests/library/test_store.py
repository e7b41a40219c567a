import json

import numpy as np
import pytest

from library.fingerprint import FINGERPRINT_SIZE, fingerprints
from library.folder import MANIFEST, verify, write
from library.store import Library, join, open_libraries
from microscopy.errors import LibraryError
from microscopy.micrograph import Modality


@pytest.fixture
def folder(tmp_path, templates):
    patterns = fingerprints([t.structure for t in templates], Modality.IDPC)
    write(tmp_path / "lib", templates, {Modality.IDPC: patterns}, {"command": "test"}, [["alias"], [], [], []])
    return tmp_path / "lib"


def test_what_is_written_is_read_back(folder, templates):
    library = Library.open(folder)
    assert library.ids == tuple(t.id for t in templates)
    assert library.formulas == ("MoS2", "SnS", "MoSe2", "C")
    for row, expected in enumerate(templates):
        found = library.template(row)
        assert (found.id, found.formula, found.source, found.licence, found.url, found.prototype) == (
            expected.id,
            expected.formula,
            expected.source,
            expected.licence,
            expected.url,
            expected.prototype,
        )
        assert np.array_equal(found.structure.lattice.matrix, expected.structure.lattice.matrix)
        assert np.array_equal(found.structure.frac_coords, expected.structure.frac_coords)
        assert found.structure.species == expected.structure.species
        assert found.structure.lattice.pbc == (True, True, False)
    assert verify(folder)["count"] == 4


def test_filters(folder):
    library = Library.open(folder)
    assert library.rows().tolist() == [0, 1, 2, 3]
    assert library.rows(elements=("S", "Mo")).tolist() == [0]
    assert library.rows(elements=("Mo",)).tolist() == []
    assert library.rows(formula="Mo2S4").tolist() == [0]
    assert library.rows(formula="S2Mo").tolist() == [0]
    assert library.rows(exclude=["b", "MoSe2"]).tolist() == [0, 3]
    assert library.rows(exclude=["alias"]).tolist() == [1, 2, 3]
    with pytest.raises(LibraryError, match="formula"):
        library.rows(formula="no formula")


def test_fingerprints_are_the_stored_ones_and_others_are_computed(folder, templates):
    library = Library.open(folder)
    structures = [t.structure for t in templates]
    assert np.array_equal(library.fingerprints(Modality.IDPC), fingerprints(structures, Modality.IDPC))
    assert np.array_equal(library.fingerprints(Modality.HAADF), fingerprints(structures, Modality.HAADF))
    assert library.fingerprints(Modality.UNKNOWN) is library.fingerprints(Modality.IDPC)


def test_search_respects_the_filter(folder):
    library = Library.open(folder)
    query = library.fingerprints(Modality.IDPC)[0]
    rows, scores = library.search(query, Modality.IDPC, 10)
    assert rows[0] == 0
    assert np.isclose(scores[0], 1)
    rows, _ = library.search(query, Modality.IDPC, 10, library.rows(exclude=["a"]))
    assert sorted(rows) == [1, 2, 3]


@pytest.mark.parametrize("damage", ["truncate", "remove", "flip"])
def test_damage_is_refused_with_what_to_do(folder, damage):
    file = next(folder.glob("templates-*.arrow"))
    content = bytearray(file.read_bytes())
    if damage == "truncate":
        file.write_bytes(content[:-10])
    elif damage == "remove":
        file.unlink()
    else:
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
    with pytest.raises(LibraryError, match="rebuild or copy"):
        verify(folder)
    if damage != "flip":
        with pytest.raises(LibraryError, match="rebuild or copy"):
            Library.open(folder)


def test_foreign_folders_are_refused_and_left_alone(tmp_path, folder, templates):
    with pytest.raises(LibraryError, match="not a template library"):
        Library.open(tmp_path / "absent")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    with pytest.raises(LibraryError, match="choose another"):
        write(foreign, templates, {}, {})
    assert (foreign / "thesis.txt").read_text() == "years of work"
    (foreign / MANIFEST).write_text("{")
    with pytest.raises(LibraryError, match="cannot be read"):
        Library.open(foreign)
    manifest = json.loads((folder / MANIFEST).read_text())
    changes = {"schema": (99, "schema"), "kind": ("other", "not a template"), "fingerprint": ({}, "fingerprints")}
    for key, (value, message) in changes.items():
        (folder / MANIFEST).write_text(json.dumps({**manifest, key: value}))
        with pytest.raises(LibraryError, match=message):
            Library.open(folder)


def test_replacing_keeps_open_readers_whole_and_leaves_no_old_files(folder, templates):
    before = Library.open(folder)
    digest = before.digest
    write(folder, templates[:2], {}, {"command": "again"})
    after = Library.open(folder)
    assert len(after) == 2
    assert after.digest != digest
    assert len(before) == 4
    assert before.template(3).formula == "C"
    assert sorted(p.suffix for p in folder.iterdir()) == [".arrow", ".json"]


def test_a_writer_that_dies_leaves_the_old_library(folder, templates, monkeypatch):
    def dies(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("library.folder._sync", dies)
    with pytest.raises(LibraryError, match="No space left"):
        write(folder, templates[:1], {}, {})
    monkeypatch.undo()
    assert verify(folder)["count"] == 4
    assert len(Library.open(folder)) == 4


def test_the_same_content_has_the_same_digest(folder, templates, tmp_path):
    patterns = fingerprints([t.structure for t in templates], Modality.IDPC)
    write(tmp_path / "twin", templates, {Modality.IDPC: patterns}, {"command": "other"}, [["alias"], [], [], []])
    assert Library.open(tmp_path / "twin").digest == Library.open(folder).digest


def test_joined_libraries_are_searched_together(folder, tmp_path, templates):
    write(tmp_path / "more", templates[2:], {}, {})
    both = open_libraries([folder, tmp_path / "more"])
    assert both.ids == ("a", "b", "c", "d", "test/c", "test/d")
    assert both.fingerprints(Modality.IDPC).shape == (6, FINGERPRINT_SIZE)
    assert np.allclose(both.fingerprints(Modality.IDPC)[4], both.fingerprints(Modality.IDPC)[2])
    assert both.template(5).formula == "C"
    assert both.rows(formula="MoSe2").tolist() == [2, 4]
    assert both.rows(exclude=["alias"]).tolist() == [1, 2, 3, 4, 5]
    assert join([both]) is both
