"""One structure from two sources is one template, with two names."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pyarrow as pa
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from library.geometry import as_periodic
from library.patterns import Patterns
from library.records import Progress
from library.table import to_template

SIMILAR = 0.98
"""Fingerprints of one structure from two sources (lattices within about 0.5 %) agree at least this well."""

TOLD = 100
"""Rows between two reports of progress."""

LENGTH_TOLERANCE, SITE_TOLERANCE, ANGLE_TOLERANCE = 0.01, 0.03, 1.0
"""Duplicates: relative cell lengths, site distance over (V/N)^(1/3), degrees. DFT codes differ by less, structure
types by more."""


def merge(table: pa.Table, patterns: Patterns, known: int = 0, progress: Progress | None = None) -> dict[int, int]:
    """Find duplicates: each duplicate's row, and the row of the first of its kind.

    Only pairs with one formula, one number of sites and similar fingerprints are compared site by site.

    Parameters
    ----------
    table, patterns
        Templates and their fingerprints.
    known
        The first rows, which are no duplicates of one another.
    progress
        Told how many rows are done.
    """
    groups: dict[tuple[str, int], list[int]] = defaultdict(list)
    keys = zip(table.column("formula").to_pylist(), table.column("sites").to_pylist(), strict=True)
    for row, key in enumerate(keys):
        groups[key].append(row)
    found: dict[int, int] = {}
    done = 0
    for group in groups.values():
        if len(group) > 1 and group[-1] >= known:
            found |= _merge_group(np.array(group), table, patterns, known)
        done += len(group)
        if progress is not None and (done == table.num_rows or done % TOLD < len(group)):
            progress("merge", done, table.num_rows)
    return found


def _merge_group(group: np.ndarray, table: pa.Table, patterns: Patterns, known: int) -> dict[int, int]:
    """Duplicates among rows of one composition, in order."""
    matcher = StructureMatcher(
        ltol=LENGTH_TOLERANCE, stol=SITE_TOLERANCE, angle_tol=ANGLE_TOLERANCE, primitive_cell=False, scale=False
    )
    rows = patterns.take(group)
    structures: dict[int, Structure] = {}

    def structure(place: int) -> Structure:
        if place not in structures:
            structures[place] = as_periodic(to_template(table, int(group[place])).structure)
        return structures[place]

    kept = np.zeros(len(group), bool)
    found = {}
    for place, row in enumerate(group):
        near = kept[:place] & (rows[:place] @ rows[place] > SIMILAR) & (row >= known)
        same = (
            first
            for first in map(int, np.flatnonzero(near))
            # Cells of templates are reduced already.
            if matcher.fit(structure(first), structure(place), skip_structure_reduction=True)
        )
        first = next(same, None)
        kept[place] = first is None
        if first is not None:
            found[int(row)] = int(group[first])
    return found
