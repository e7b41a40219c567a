from dataclasses import replace

import numpy as np
import pytest
from library_folders import entries

from library import appending, section
from library.build import add_entries, add_to_library, build_from_entries
from library.folder import verify
from library.store import Library
from microscopy.errors import LibraryError
from microscopy.micrograph import Modality

FACTS = {"command": "test"}


@pytest.fixture
def grown(tmp_path):
    build_from_entries(entries(8), tmp_path / "lib", [Modality.IDPC], FACTS, None)
    return tmp_path / "lib"


def test_adding_is_as_good_as_building(grown, tmp_path):
    addition = add_entries(entries(3, 8), grown, FACTS)
    assert (addition["added"], addition["merged"]) == (3, 0)
    build_from_entries(entries(11), tmp_path / "whole", [Modality.IDPC], FACTS, None)
    one, other = Library.open(grown), Library.open(tmp_path / "whole")
    assert one.table.equals(other.table)
    assert np.array_equal(one.fingerprints(Modality.IDPC), other.fingerprints(Modality.IDPC))
    assert verify(grown)["additions"] == [addition]
    assert not (grown / ".build").exists()


def test_what_is_there_is_left_where_it_is(grown):
    before = set(grown.glob("templates-*"))
    add_entries(entries(3, 8), grown, FACTS)
    assert before < set(grown.glob("templates-*"))


def test_adding_twice_changes_nothing(grown):
    add_entries(entries(3, 8), grown, FACTS)
    digest = Library.open(grown).digest
    addition = add_entries(entries(3, 8), grown, FACTS)
    assert (addition["added"], addition["merged"]) == (0, 3)
    assert Library.open(grown).digest == digest


def test_a_duplicate_becomes_another_name(grown):
    for _ in range(2):
        addition = add_entries([*entries(2, source="twin"), *entries(1, 20)], grown, FACTS)
    assert (addition["added"], addition["merged"]) == (0, 3)
    library = Library.open(grown)
    assert len(library) == 9
    assert library.rows(name="twin-1").tolist() == [1]
    assert library.aliases.num_rows == 2


def test_an_id_that_is_taken_gets_its_source_before_it(grown):
    for source in ("x", "y"):
        new = [replace(entry, id="test-3", source=source) for entry in entries(1, {"x": 20, "y": 30}[source])]
        add_entries(new, grown, FACTS)
    assert Library.open(grown).ids[8:] == ("x/test-3", "y/test-3")
    add_entries(new, grown, FACTS)
    assert Library.open(grown).aliases.num_rows == 0


def test_parts_stay_few_and_rows_in_place(grown):
    for number in range(8, 40):
        add_entries(entries(1, number), grown, FACTS)
        manifest = verify(grown)
        assert len(manifest["parts"]) <= 1 + np.log2(manifest["count"])
    assert Library.open(grown).ids == tuple(f"test-{k}" for k in range(40))


def test_an_index_is_made_when_many_rows_are_beyond_it(grown, monkeypatch):
    monkeypatch.setattr(appending, "EXACT", 10)
    monkeypatch.setattr(section, "EXACT", 1)
    covered = []
    for number in range(8, 24, 4):
        add_entries(entries(4, number), grown, FACTS)
        covered.append(verify(grown)["indices"].get("iDPC", {}).get("covers", 0))
        library = Library.open(grown)
        for row, pattern in enumerate(library.fingerprints(Modality.IDPC)):
            assert library.search(pattern, Modality.IDPC, 1)[0].tolist() == [row]
    assert covered == [12, 12, 12, 24]
    assert len(list(grown.glob("index-*"))) == 1


def test_only_a_library_can_be_added_to(tmp_path):
    with pytest.raises(LibraryError, match="not a template library"):
        add_entries(entries(1), tmp_path / "absent", FACTS)
    assert not (tmp_path / "absent").exists()
    with pytest.raises(LibraryError, match="no source"):
        add_to_library([], tmp_path)
