"""Search by fingerprint: the dot product of unit vectors, exact."""

from __future__ import annotations

import faiss
import numpy as np
from jaxtyping import Float32, Int64


class FingerprintIndex:
    """Nearest fingerprints by inner product.

    The one place that knows FAISS: an approximate index for larger libraries replaces what `__init__` builds.

    Parameters
    ----------
    fingerprints
        Unit-length rows, shape (N, D).
    """

    def __init__(self, fingerprints: Float32[np.ndarray, "N D"]) -> None:
        self._index = faiss.IndexFlatIP(fingerprints.shape[1])
        if len(fingerprints):
            self._index.add(np.ascontiguousarray(fingerprints, dtype=np.float32))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(
        self, query: Float32[np.ndarray, " D"], k: int, rows: Int64[np.ndarray, " R"] | None = None
    ) -> tuple[Int64[np.ndarray, " K"], Float32[np.ndarray, " K"]]:
        """Rows and scores of the best matches, best first.

        Parameters
        ----------
        query
            Fingerprint, shape (D,).
        k
            Matches wanted; fewer come back when there are fewer rows.
        rows
            Rows that may match; all when None. A filter loses no recall: only these are compared.

        Raises
        ------
        ValueError
            If the query has another length than the fingerprints.
        """
        query = np.ascontiguousarray(query, dtype=np.float32).reshape(1, -1)
        if query.shape[1] != self._index.d:
            raise ValueError(f"the query has {query.shape[1]} components, the index {self._index.d}")
        wanted = min(k, len(self) if rows is None else len(rows))
        if wanted < 1:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        if rows is None:
            scores, found = self._index.search(query, wanted)
        else:
            selector = faiss.IDSelectorBatch(np.ascontiguousarray(rows, dtype=np.int64))
            scores, found = self._index.search(query, wanted, params=faiss.SearchParameters(sel=selector))  # type: ignore[call-arg]
        hit = found[0] >= 0
        return found[0][hit], scores[0][hit]
