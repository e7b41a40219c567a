"""Consecutive rows of a library that are searched together: one folder's, with its indices."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Int64

from library.fingerprint import fingerprints
from library.folder import IndexFile, check_content
from library.index import EXACT, CellIndex, Found, best, exact_search
from library.patterns import Patterns
from library.table import to_template
from microscopy.micrograph import Modality


class Section:
    """Fingerprints of the rows of a table, stored or computed when first used, and the way to search them.

    Parameters
    ----------
    table
        Templates.
    stored
        Their fingerprints.
    indices
        Index files of their first rows.
    """

    def __init__(
        self, table: pa.Table, stored: Mapping[Modality, Patterns], indices: Mapping[Modality, IndexFile]
    ) -> None:
        self._table = table
        self._patterns = dict(stored)
        self._files = indices
        self._indices: dict[Modality, CellIndex | None] = {}

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def patterns(self, modality: Modality) -> Patterns:
        """Fingerprints of all rows."""
        if modality not in self._patterns:
            structures = [to_template(self._table, row).structure for row in range(len(self))]
            self._patterns[modality] = Patterns([fingerprints(structures, modality)] if structures else [])
        return self._patterns[modality]

    def search(
        self,
        queries: Float32[np.ndarray, "Q D"],
        modality: Modality,
        k: int,
        rows: Int64[np.ndarray, " R"] | None,
    ) -> Found:
        """Rows most like each query; only ``rows`` may match when given.

        Few rows are compared one by one, so that a filter loses nothing; among many an index proposes, and rows
        added since it was made are compared one by one.
        """
        patterns = self.patterns(modality)
        if queries.shape[1] != patterns.size:
            raise ValueError(f"the query has {queries.shape[1]} components, the index {patterns.size}")
        index = self._index(modality) if (len(self) if rows is None else len(rows)) > EXACT else None
        if index is None:
            return exact_search(patterns, queries, k, rows)
        proposed = index.search(patterns, queries, k, rows)
        rest = None if rows is None else rows[rows >= len(index)]
        return best(k, proposed, exact_search(patterns, queries, k, rest, len(index)))

    def _index(self, modality: Modality) -> CellIndex | None:
        """Index of a modality, its content checked when it is first used; none where there is no file.

        A writer may have replaced the file since this library was opened: then all rows are compared.
        """
        if modality not in self._indices:
            file = self._files.get(modality)
            self._indices[modality] = None
            if file is not None and file.path.exists():
                check_content(file.path, file.sha256)
                self._indices[modality] = CellIndex.read(file.path)
        return self._indices[modality]
