import numpy as np
import pytest

from library import index
from library.index import CellIndex, exact_search
from library.patterns import Patterns
from microscopy.errors import LibraryError

RNG = np.random.default_rng(7)


def unit(rows: int, size: int) -> np.ndarray:
    vectors = RNG.random((rows, size), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def in_pieces(rows: np.ndarray) -> Patterns:
    return Patterns([rows[:50], rows[50:50], rows[50:]])


@pytest.mark.parametrize("filtered", [False, True])
def test_exact_search_is_brute_force(filtered, monkeypatch):
    monkeypatch.setattr(index, "BLOCK", 16)
    rows, queries = unit(211, 17), unit(5, 17)
    allowed = np.sort(RNG.choice(211, 40, replace=False)) if filtered else None
    found, scores = exact_search(in_pieces(rows), queries, 12, allowed)
    candidates = np.arange(211) if allowed is None else allowed
    for query, near, values in zip(queries, found, scores, strict=True):
        expected = candidates[np.argsort(-(rows[candidates] @ query))[:12]]
        assert near.tolist() == expected.tolist()
        assert np.allclose(values, rows[expected] @ query, atol=1e-6)


def test_exact_search_may_begin_anywhere():
    rows = unit(211, 17)
    found, _ = exact_search(in_pieces(rows), rows[[3, 120]], 1, begin=100)
    assert found[0, 0] >= 100
    assert found[1, 0] == 120


def test_fewer_rows_than_wanted():
    patterns = Patterns([unit(3, 5)])
    assert exact_search(patterns, unit(1, 5), 10)[0].shape == (1, 3)
    assert exact_search(patterns, unit(1, 5), 10, np.array([1]))[0].tolist() == [[1]]
    assert exact_search(patterns, unit(1, 5), 10, np.array([], dtype=np.int64))[0].shape == (1, 0)
    assert exact_search(Patterns([]), unit(1, 5), 10)[0].shape == (1, 0)


def clustered(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows around common centres, as fingerprints are, and queries like some of them."""
    rows = np.repeat(unit(count // 20, 30), 20, axis=0) + 0.1 * unit(count, 30)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), rows[::97] + 0.01 * unit(len(rows[::97]), 30)


@pytest.mark.parametrize("share", [1.0, 0.3, 0.02])
def test_an_index_loses_next_to_nothing_whatever_the_filter(share, tmp_path, monkeypatch):
    monkeypatch.setattr(index, "PROBED", 24)
    rows, queries = clustered(4000)
    allowed = None if share == 1 else np.sort(RNG.choice(len(rows), int(share * len(rows)), replace=False))
    patterns = in_pieces(rows)
    CellIndex.train(patterns).write(tmp_path / "index")
    found, scores = CellIndex.read(tmp_path / "index").search(patterns, queries, 10, allowed)
    expected, values = exact_search(patterns, queries, 10, allowed)
    recall = np.mean([np.isin(one, other).mean() for one, other in zip(expected, found, strict=True)])
    assert recall > 0.98
    assert np.allclose(scores[:, 0], values[:, 0], atol=1e-6)
    assert (np.diff(scores, axis=1) <= 0).all()


def test_the_same_rows_give_the_same_index(tmp_path):
    rows, _ = clustered(1000)
    for name in "ab":
        CellIndex.train(in_pieces(rows)).write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_that_is_no_index_is_refused(tmp_path):
    (tmp_path / "index").write_bytes(b"IwSq" + bytes(100))
    with pytest.raises(LibraryError, match="rebuild or copy"):
        CellIndex.read(tmp_path / "index")
