"""Figures reach the document from the run, and from nowhere else."""

import pytest

from benchmarks import document
from benchmarks.materials import BenchmarkError
from benchmarks.report import Section
from benchmarks.tables import Table

TEXT = """# Results

<!-- quick: By regime and dose -->
old
<!-- end -->

Prose stays.

<!-- lowdose: By regime and dose --><!-- end -->
<!-- lowdose: Formation energy -->
<!-- end -->
"""


@pytest.fixture
def runs(monkeypatch, tmp_path):
    def sections(folder):
        accuracy = Table("By regime and dose", ("regime", "success"), (("I", folder.name),), "A note.")
        return [Section("Confidence"), Section("", table=accuracy)] + [
            Section("", table=Table("Formation energy", ("a",), (("1",),)))
        ] * (folder.name == "lowdose")

    monkeypatch.setattr(document, "sections_of", sections)
    return tmp_path


def test_each_block_is_filled_from_its_own_run_and_filling_again_changes_nothing(runs):
    page = runs / "page.md"
    page.write_text(TEXT)
    assert document.fill(page, runs) == ["quick: By regime and dose", "lowdose: Formation energy"]
    first = page.read_text()
    assert "| I | quick |" in first
    assert "old" not in first
    assert "Prose stays." in first
    assert "A note." in first
    document.fill(page, runs)
    assert page.read_text() == first


def test_a_table_that_is_not_there_is_named_and_the_document_is_left_alone(runs):
    page = runs / "page.md"
    page.write_text("<!-- quick: Formation energy -->\n<!-- end -->")
    with pytest.raises(BenchmarkError, match="quick has no table 'Formation energy'"):
        document.fill(page, runs)
    assert "Formation energy -->\n<!--" in page.read_text()


def test_a_missing_document_is_one_line(runs):
    with pytest.raises(BenchmarkError, match=r"none\.md"):
        document.fill(runs / "none.md", runs)
