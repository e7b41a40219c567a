import json

import numpy as np
import pytest

from benchmarks import library_scale
from benchmarks.document import put
from benchmarks.library_retrieval import table as retrieval_table
from benchmarks.library_scale import TITLE, main, recall
from benchmarks.materials import BenchmarkError
from benchmarks.variants import variants
from library.cleaning import clean
from library.store import Library, open_libraries


def test_variants_are_seeded_distinct_and_mostly_clean():
    library = open_libraries()
    some = list(variants(library, 12, 1))
    again = list(variants(library, 20, 1))[:12]
    other = list(variants(library, 12, 2))
    assert [each.structure for each in some] == [each.structure for each in again]
    assert [each.structure for each in some] != [each.structure for each in other]
    assert len({each.structure.composition.formula for each in some}) > 8
    for each in some:
        assert clean(each.structure).composition.reduced_formula == each.structure.composition.reduced_formula


def test_recall_counts_what_was_found_of_the_best():
    truth = [np.array([1, 2, 3]), np.array([4, 5, 6])]
    found = [np.array([2, 1, 9]), np.array([4, 7, 5])]
    assert recall(found, truth, 1) == 0.5
    assert recall(found, truth, 2) == 0.75
    assert recall(found, truth, 3) == pytest.approx(2 / 3)


def test_a_library_is_built_once_measured_and_put_into_a_document(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(library_scale, "QUERIES", 5)
    monkeypatch.setattr(library_scale, "ADDED", 3)
    monkeypatch.setattr(library_scale, "LABELS", 2)
    monkeypatch.setattr(library_scale, "FIELD", (128, 128))
    document = tmp_path / "page.md"
    document.write_text(f"before\n<!-- {TITLE} -->\nold\n<!-- end -->\nafter\n")
    command = ["--sizes", "20", "--processes", "1", "--out", str(tmp_path / "out"), "--document", str(document)]
    main(command)
    log = tmp_path / "out" / "library-20.json"
    measured = json.loads(log.read_text())
    assert measured["recall"] == {"10": 1.0, "100": 1.0}
    assert measured["build_s"] > 0
    assert len(Library.open(tmp_path / "out" / "library-20")) == measured["count"]  # the addition went to a copy
    main(command)
    assert json.loads(log.read_text())["build_s"] == measured["build_s"]
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("<!-- end -->\nafter\n")
    assert f"| {measured['count']} |" in text
    assert "old" not in text
    with pytest.raises(BenchmarkError, match="no block"):
        put(document, "something else", "")


def test_shares_leave_out_what_no_library_holds():
    line = {"known": True, "held": True, "seconds": 1.0}
    lines = [
        {**line, "rank": rank, "tied": True, "known": known} for known in (True, False) for rank in (1, 1, 7, None)
    ]
    lines += [{**line, "rank": None, "tied": False, "held": False}]
    rows = retrieval_table(lines, 1234).splitlines()
    assert "| known | 4 | 1,234 | 50.0% | 75.0% | 100.0% | 1.0 |" in rows
