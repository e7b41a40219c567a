"""Fingerprints of many templates, in consecutive pieces that may be memory-mapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float32, Int64

from library.fingerprint import FINGERPRINT_SIZE


class Patterns:
    """Rows of fingerprints; nothing is copied before it is asked for.

    Parameters
    ----------
    pieces
        Arrays of shape (n, D), consecutive rows.
    """

    def __init__(self, pieces: Sequence[Float32[np.ndarray, "n D"]]) -> None:
        self.pieces = tuple(piece for piece in pieces if len(piece))
        self._begins = np.cumsum([0, *(len(piece) for piece in self.pieces)])

    def __len__(self) -> int:
        return int(self._begins[-1])

    @property
    def size(self) -> int:
        """Components of one fingerprint."""
        return int(self.pieces[0].shape[1]) if self.pieces else FINGERPRINT_SIZE

    def array(self) -> Float32[np.ndarray, "N D"]:
        """All rows; a copy where they lie in several pieces."""
        if not self.pieces:
            return np.empty((0, FINGERPRINT_SIZE), np.float32)
        return self.pieces[0] if len(self.pieces) == 1 else np.concatenate(self.pieces)

    def take(self, rows: Int64[np.ndarray, " R"]) -> Float32[np.ndarray, "R D"]:
        """Copy some rows, in any order."""
        found = np.empty((len(rows), self.size), np.float32)
        piece_of = np.searchsorted(self._begins, rows, side="right") - 1
        for number in np.unique(piece_of):
            here = piece_of == number
            found[here] = self.pieces[number][rows[here] - self._begins[number]]
        return found

    def blocks(self, begin: int, end: int) -> Iterator[tuple[int, Float32[np.ndarray, "n D"]]]:
        """Rows from begin to end as views, each with the number of its first row."""
        for number, piece in enumerate(self.pieces):
            start = int(self._begins[number])
            low, high = max(begin - start, 0), min(end - start, len(piece))
            if low < high:
                yield start + low, piece[low:high]
