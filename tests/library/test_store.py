import numpy as np
import pytest
from library_folders import write_library

from library import section
from library.fingerprint import FINGERPRINT_SIZE, fingerprints
from library.folder import verify
from library.store import Library, join, open_libraries
from microscopy.errors import LibraryError
from microscopy.micrograph import Modality


def test_what_is_written_is_read_back(folder, templates):
    library = Library.open(folder)
    assert library.ids == tuple(t.id for t in templates)
    assert library.formulas == ("MoS2", "SnS", "MoSe2", "C")
    for row, expected in enumerate(templates):
        found = library.template(row)
        for name in ("id", "formula", "source", "version", "licence", "url", "prototype"):
            assert getattr(found, name) == getattr(expected, name)
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
    assert library.rows(stoichiometry="AB2").tolist() == [0, 2]
    assert library.rows(kinds=1).tolist() == [3]
    assert library.rows(name="alias").tolist() == library.rows(name="a").tolist() == [0]
    assert library.rows(name="MoS2").tolist() == []
    assert library.rows(exclude=["b", "MoSe2"]).tolist() == [0, 3]
    assert library.rows(exclude=["alias"]).tolist() == [1, 2, 3]
    with pytest.raises(LibraryError, match="formula"):
        library.rows(formula="no formula")


def test_fingerprints_are_the_stored_ones_and_others_are_computed(folder, templates):
    library = Library.open(folder)
    structures = [t.structure for t in templates]
    assert np.array_equal(library.fingerprints(Modality.IDPC), fingerprints(structures, Modality.IDPC))
    assert np.array_equal(library.fingerprints(Modality.HAADF), fingerprints(structures, Modality.HAADF))
    assert np.array_equal(library.fingerprints(Modality.UNKNOWN), library.fingerprints(Modality.IDPC))
    some = library.fingerprints(Modality.IDPC, np.array([3, 1]))
    assert np.array_equal(some, fingerprints([structures[3], structures[1]], Modality.IDPC))


def test_search_respects_the_filter(folder):
    library = Library.open(folder)
    query = library.fingerprints(Modality.IDPC)[0]
    rows, scores = library.search(query, Modality.IDPC, 10)
    assert rows[0] == 0
    assert np.isclose(scores[0], 1)
    rows, _ = library.search(query, Modality.IDPC, 10, library.rows(exclude=["a"]))
    assert sorted(rows) == [1, 2, 3]
    assert len(library.search(query, Modality.IDPC, 10, library.rows(formula="WS2"))[0]) == 0
    with pytest.raises(ValueError, match="components"):
        library.search(query[:-1], Modality.IDPC, 1)


def test_many_queries_are_answered_as_one_by_one(folder):
    library = Library.open(folder)
    queries = library.fingerprints(Modality.IDPC)[[2, 0]]
    rows, scores = library.search_many(queries, Modality.IDPC, 3)
    assert rows.shape == scores.shape == (2, 3)
    assert rows[:, 0].tolist() == [2, 0]
    for query, one in zip(queries, rows, strict=True):
        assert library.search(query, Modality.IDPC, 3)[0].tolist() == one.tolist()


def test_joined_libraries_are_searched_together(folder, tmp_path, templates):
    write_library(tmp_path / "more", templates[2:], modalities=(), aliases=[(1, "other")])
    both = open_libraries([folder, tmp_path / "more"])
    assert both.ids == ("a", "b", "c", "d", "test/c", "test/d")
    assert both.fingerprints(Modality.IDPC).shape == (6, FINGERPRINT_SIZE)
    assert np.allclose(both.fingerprints(Modality.IDPC)[4], both.fingerprints(Modality.IDPC)[2])
    assert both.template(5).formula == "C"
    assert both.rows(formula="MoSe2").tolist() == [2, 4]
    assert both.rows(exclude=["alias"]).tolist() == [1, 2, 3, 4, 5]
    assert both.rows(name="other").tolist() == [5]
    rows, scores = both.search(both.fingerprints(Modality.IDPC)[2], Modality.IDPC, 3)
    assert rows[:2].tolist() == [2, 4]
    assert np.allclose(scores[:2], 1)
    rows, _ = both.search(both.fingerprints(Modality.IDPC)[2], Modality.IDPC, 3, np.array([0, 4, 5]))
    assert rows[0] == 4
    assert join([both]) is both


def test_rows_beyond_the_index_are_found_and_an_index_that_is_gone_is_done_without(
    indexed_folder, templates, monkeypatch
):
    monkeypatch.setattr(section, "EXACT", 1)
    library = Library.open(indexed_folder)
    assert library.manifest["indices"]["iDPC"]["covers"] == 3
    patterns = library.fingerprints(Modality.IDPC)
    assert [int(library.search(one, Modality.IDPC, 2)[0][0]) for one in patterns] == [0, 1, 2, 3]
    assert sorted(library.search(patterns[0], Modality.IDPC, 9, np.array([1, 3]))[0]) == [1, 3]
    again = Library.open(indexed_folder)
    next(indexed_folder.glob("index-*")).unlink()
    assert again.search(patterns[3], Modality.IDPC, 1)[0].tolist() == [3]


def test_an_altered_index_is_refused_before_it_is_read(indexed_folder, monkeypatch):
    monkeypatch.setattr(section, "EXACT", 1)
    library = Library.open(indexed_folder)
    file = next(indexed_folder.glob("index-*"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(LibraryError, match="altered"):
        library.search(library.fingerprints(Modality.IDPC)[0], Modality.IDPC, 1)


def test_opening_reads_neither_templates_nor_fingerprints(folder):
    """Opening takes as long for a million: nothing is turned into Python objects."""
    library = Library.open(folder)
    assert not {"ids", "formulas"} & library.__dict__.keys()
    assert library.sections[0].patterns(Modality.IDPC).pieces[0].base is not None
