import numpy as np
import pytest
from library_folders import entries

from library import preparing
from library.preparing import clean_all, prepare
from library.sources import Entry, Refusal
from library.table import patterns_of
from microscopy.errors import LibraryError
from microscopy.micrograph import Modality

MODALITIES = (Modality.IDPC,)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(preparing, "BATCH", 4)


def test_refusals_are_counted_with_an_example(mos2):
    overlap = mos2.copy()
    overlap.append("S", mos2[1].frac_coords + np.array([0, 0, 0.01]))
    items = [Entry("good", mos2, "test"), Entry("x", overlap, "test"), Entry("y", overlap, "test"), Refusal("z", "bad")]
    found, report = clean_all(items)
    assert [t.id for t in found] == ["good"]
    assert report.sources == {"test": 3}
    assert report.refusals == {"overlapping atoms": 2, "bad": 1}
    assert report.examples["overlapping atoms"].startswith("x: ")


def test_rows_keep_the_order_and_counts_add_up(tmp_path):
    told = []
    items = [*entries(6), Refusal("z", "bad"), *entries(4, 6)]
    table, report = prepare(items, MODALITIES, tmp_path, progress=lambda *news: told.append(news))
    assert table.column("id").to_pylist() == [f"test-{k}" for k in range(10)]
    assert len(patterns_of(table, Modality.IDPC)) == 10
    assert report.sources == {"test": 10}
    assert report.refusals == {"bad": 1}
    assert told[-1] == ("clean and fingerprint", 11, None)


def test_finished_batches_are_not_made_again(tmp_path, monkeypatch):
    cleaned = []
    clean = preparing.clean

    def counting(structure):
        cleaned.append(structure)
        return clean(structure)

    monkeypatch.setattr(preparing, "clean", counting)

    def interrupted():
        yield from entries(9)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(interrupted(), MODALITIES, tmp_path)
    assert len(cleaned) == 8
    table, _ = prepare(entries(10), MODALITIES, tmp_path)
    assert len(cleaned) == 10
    assert table.num_rows == 10
    prepare(entries(4, source="other"), MODALITIES, tmp_path)
    assert len(cleaned) == 14


def test_nothing_gives_an_empty_table(tmp_path):
    table, report = prepare([], MODALITIES, tmp_path)
    assert table.num_rows == 0
    assert not report.sources


def test_a_folder_that_the_workers_do_not_share_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "prepare_batch", lambda items, modalities, work: (work / "elsewhere", len(items)))
    with pytest.raises(LibraryError, match="the same one, at the same path"):
        prepare(entries(3), MODALITIES, tmp_path)
