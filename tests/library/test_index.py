import numpy as np
import pytest

from library.index import FingerprintIndex

RNG = np.random.default_rng(7)


def unit(rows: int, size: int) -> np.ndarray:
    vectors = RNG.random((rows, size), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("filtered", [False, True])
def test_search_is_brute_force(filtered):
    rows, queries = unit(211, 17), unit(5, 17)
    allowed = np.sort(RNG.choice(211, 40, replace=False)) if filtered else None
    index = FingerprintIndex(rows)
    for query in queries:
        found, scores = index.search(query, 12, allowed)
        candidates = np.arange(211) if allowed is None else allowed
        expected = candidates[np.argsort(-(rows[candidates] @ query))[:12]]
        assert found.tolist() == expected.tolist()
        assert np.allclose(scores, rows[expected] @ query, atol=1e-6)


def test_fewer_rows_than_wanted():
    index = FingerprintIndex(unit(3, 5))
    assert len(index.search(unit(1, 5)[0], 10)[0]) == 3
    assert len(index.search(unit(1, 5)[0], 10, np.array([1]))[0]) == 1
    assert len(index.search(unit(1, 5)[0], 10, np.array([], dtype=np.int64))[0]) == 0
    assert len(FingerprintIndex(np.empty((0, 5), np.float32)).search(unit(1, 5)[0], 10)[0]) == 0


def test_a_query_of_another_length_is_refused():
    with pytest.raises(ValueError, match="components"):
        FingerprintIndex(unit(3, 5)).search(unit(1, 6)[0], 1)
