"""Search by fingerprint: inner products of unit vectors, compared one by one or through inverted lists.

Comparing all is exact and takes a time that grows with the library. A large library therefore has an index
file (FAISS: k-means cells, one byte per component) that proposes rows; their scores are then computed exactly.
"""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
from jaxtyping import Float32, Int64

from library.patterns import Patterns
from microscopy.errors import LibraryError

EXACT = 50_000
"""Rows that are compared one by one: a few milliseconds."""

CELLS_PER_ROOT = 4
"""Cells of an index over the square root of its rows."""

SAMPLES_PER_CELL = 40
"""Rows by which each cell is found."""

PROBED = 96
"""Cells looked into for a query, the nearest first."""

OVERSAMPLING = 2
"""Rows proposed for each one wanted: the proposal is made with rounded fingerprints."""

SEED = 7

BLOCK = 65_536
"""Rows copied out of a library at once."""

Found = tuple[Int64[np.ndarray, "Q K"], Float32[np.ndarray, "Q K"]]
"""Rows and scores of the best matches of each query, best first; row −1 where there are fewer."""


def exact_search(
    patterns: Patterns,
    queries: Float32[np.ndarray, "Q D"],
    k: int,
    rows: Int64[np.ndarray, " R"] | None = None,
    begin: int = 0,
) -> Found:
    """Compare queries with some rows, or with all from ``begin`` on."""
    found = nothing(len(queries))
    if rows is None:
        for start, block in patterns.blocks(begin, len(patterns)):
            found = best(k, found, _compare(queries, block, k, np.arange(start, start + len(block))))
        return found
    for start in range(0, len(rows), BLOCK):
        some = rows[start : start + BLOCK]
        found = best(k, found, _compare(queries, patterns.take(some), k, some))
    return found


def best(k: int, *parts: Found) -> Found:
    """The k best of several searches; equal scores in the order of rows."""
    rows = np.concatenate([rows for rows, _ in parts], axis=1)
    scores = np.concatenate([scores for _, scores in parts], axis=1)
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def nothing(queries: int) -> Found:
    """No match for any query."""
    return np.empty((queries, 0), np.int64), np.empty((queries, 0), np.float32)


def _compare(queries: np.ndarray, block: np.ndarray, k: int, rows: np.ndarray) -> Found:
    scores, found = faiss.knn(queries, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
    return rows[found], scores


class CellIndex:
    """An index file opened for searching the first rows of a library."""

    def __init__(self, index: faiss.IndexIVF) -> None:
        self._index = index

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @classmethod
    def train(cls, patterns: Patterns) -> CellIndex:
        """Make the index of all rows; the same rows give the same index."""
        cells = min(round(CELLS_PER_ROOT * len(patterns) ** 0.5), len(patterns))
        sample = np.random.default_rng(SEED).choice(
            len(patterns), min(len(patterns), SAMPLES_PER_CELL * cells), replace=False
        )
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(patterns.size),
            patterns.size,
            cells,
            faiss.ScalarQuantizer.QT_8bit,
            faiss.METRIC_INNER_PRODUCT,
        )
        index.cp.min_points_per_centroid = 1  # a small index is trained by all there is, without a warning
        index.train(patterns.take(np.sort(sample)))
        for _, block in patterns.blocks(0, len(patterns)):
            index.add(np.ascontiguousarray(block))
        return cls(index)

    @classmethod
    def read(cls, path: Path) -> CellIndex:
        """Open an index file, memory-mapped; its content must have been checked.

        Raises
        ------
        LibraryError
            If the file is no such index.
        """
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        except RuntimeError as error:
            raise LibraryError(f"{path}: the index is damaged; rebuild or copy the library again") from error
        if not isinstance(index, faiss.IndexIVF):
            raise LibraryError(f"{path}: another kind of index was expected; rebuild or copy the library again")
        return cls(index)

    def write(self, path: Path) -> None:
        """Save to a file."""
        faiss.write_index(self._index, str(path))

    def search(
        self,
        patterns: Patterns,
        queries: Float32[np.ndarray, "Q D"],
        k: int,
        rows: Int64[np.ndarray, " R"] | None = None,
    ) -> Found:
        """Rows most like the queries among the indexed ones, with exact scores; only ``rows`` may match."""
        wanted = min(OVERSAMPLING * k, len(self))
        parameters = faiss.SearchParametersIVF(nprobe=min(PROBED, self._index.nlist))  # type: ignore[call-arg]
        if rows is not None:
            selected = np.zeros(len(self), bool)
            selected[rows[rows < len(self)]] = True
            bits = np.packbits(selected, bitorder="little")
            parameters.sel = faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg, arg-type]
            # As many allowed rows are looked at as without a filter.
            parameters.nprobe = min(PROBED * len(self) // max(int(selected.sum()), 1), self._index.nlist)
        _, proposed = self._index.search(queries, wanted, params=parameters)
        found = np.full((len(queries), wanted), -1, np.int64), np.full((len(queries), wanted), -np.inf, np.float32)
        for query, candidates, into, scores in zip(queries, proposed, *found, strict=True):
            hits = candidates[candidates >= 0]
            into[: len(hits)] = hits
            scores[: len(hits)] = patterns.take(hits) @ query
        return best(k, found)
