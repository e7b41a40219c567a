"""A library opened for reading: its templates, filters on them, and search among them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Float32, Int64

from library.filters import equal, fits_lattice, has_kinds, named, reduced_formula
from library.folder import ALIASES, Opened, content_digest, load
from library.index import Found, best, nothing
from library.patterns import Patterns
from library.records import Template
from library.section import Section
from library.table import COLUMNS, modalities_of, patterns_of, to_template
from microscopy.errors import LibraryError
from microscopy.micrograph import Modality

EMBEDDED = Path(__file__).parent / "embedded"
"""The library that ships with the project."""

SAME_FINGERPRINT = {Modality.UNKNOWN: Modality.IDPC}
"""Modalities that are fingerprinted like another one."""


@dataclass(frozen=True, eq=False)
class Library:
    """Templates, opened for reading.

    Attributes
    ----------
    table
        The columns of `COLUMNS`.
    aliases
        The columns of `ALIASES`.
    digest
        sha256 over the digests of the data files: changes whenever the content does.
    manifest
        What the manifest says; for several libraries joined, of each of them under ``"libraries"``.
    sections
        Fingerprints and indices of consecutive rows, one for each library joined.
    """

    table: pa.Table
    aliases: pa.Table
    digest: str
    manifest: Mapping[str, Any]
    sections: tuple[Section, ...]

    @classmethod
    def open(cls, path: Path) -> Library:
        """Open a library folder; sizes and schema are checked, contents are not (see `library.folder.verify`).

        Raises
        ------
        LibraryError
            If the folder is not a library, is damaged, or was made for other fingerprints.
        """
        return cls.of(load(path))

    @classmethod
    def of(cls, opened: Opened) -> Library:
        """Make a library of what a folder holds."""
        whole = pa.concat_tables(opened.tables)
        table = whole.select(COLUMNS.names)
        stored = {modality: patterns_of(whole, modality) for modality in modalities_of(whole)}
        aliases = pa.concat_tables(opened.aliases)
        section = Section(table, stored, opened.indices)
        return cls(table, aliases, content_digest(opened.manifest), opened.manifest, (section,))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Id of each row."""
        return tuple(self.table.column("id").to_pylist())

    @cached_property
    def formulas(self) -> tuple[str, ...]:
        """Reduced formula of each row."""
        return tuple(self.table.column("formula").to_pylist())

    def template(self, row: int) -> Template:
        """Template of a row."""
        return to_template(self.table, row)

    def rows(
        self,
        elements: Iterable[str] | None = None,
        formula: str | None = None,
        exclude: Iterable[str] = (),
        kinds: int | None = None,
        stoichiometry: str | None = None,
        name: str | None = None,
        lattice: Float[np.ndarray, "2 2"] | None = None,
        strain: float = 0.0,
    ) -> Int64[np.ndarray, " R"]:
        """Rows that pass every filter, ascending.

        Parameters
        ----------
        elements
            The complete set of chemical symbols.
        formula
            Any spelling of the formula.
        exclude
            Ids (aliases count) or formulas to leave out.
        kinds
            Number of different elements.
        stoichiometry
            Such as ``AB2``.
        name
            Id or alias.
        lattice, strain
            Only cells that may be cells of this lattice (rows, Å) within the strain; see `library.filters`.

        Raises
        ------
        LibraryError
            If the formula cannot be read.
        """
        keep = np.ones(len(self), bool)
        if elements is not None:
            keep &= equal(self.table, "elements", "-".join(sorted(set(elements))))
        if kinds is not None:
            keep &= has_kinds(self.table, kinds)
        if formula is not None:
            keep &= equal(self.table, "formula", reduced_formula(formula))
        if stoichiometry is not None:
            keep &= equal(self.table, "stoichiometry", stoichiometry)
        if name is not None:
            keep &= named(self.table, self.aliases, name)
        if lattice is not None:
            keep &= fits_lattice(self.table, lattice, strain)
        for each in exclude:
            keep &= ~self._called(each)
        return np.flatnonzero(keep).astype(np.int64)

    def fingerprints(
        self, modality: Modality, rows: Int64[np.ndarray, " R"] | None = None
    ) -> Float32[np.ndarray, "R D"]:
        """Fingerprints of some rows, or of all; a modality that is not stored is computed, once per process."""
        modality = SAME_FINGERPRINT.get(modality, modality)
        if modality not in self._patterns:
            parts = [section.patterns(modality) for section in self.sections]
            self._patterns[modality] = Patterns([piece for part in parts for piece in part.pieces])
        patterns = self._patterns[modality]
        return patterns.array() if rows is None else patterns.take(rows)

    def search(
        self,
        query: Float32[np.ndarray, " D"],
        modality: Modality,
        k: int,
        rows: Int64[np.ndarray, " R"] | None = None,
    ) -> tuple[Int64[np.ndarray, " K"], Float32[np.ndarray, " K"]]:
        """Rows whose fingerprints are most like one query, and their scores, best first; see `search_many`."""
        found, scores = self.search_many(query[None], modality, k, rows)
        return found[0], scores[0]

    def search_many(
        self,
        queries: Float32[np.ndarray, "Q D"],
        modality: Modality,
        k: int,
        rows: Int64[np.ndarray, " R"] | None = None,
    ) -> Found:
        """Rows whose fingerprints are most like each query, and their scores, best first.

        Parameters
        ----------
        queries
            Fingerprints, shape (Q, D).
        modality
            Whose fingerprints they are.
        k
            Matches wanted of each; fewer come back when there are fewer rows.
        rows
            Rows that may match, ascending; all when None.

        Raises
        ------
        ValueError
            If the queries have another length than the fingerprints.
        LibraryError
            If an index was altered.
        """
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        k = min(k, len(self) if rows is None else len(rows))
        found, begin = nothing(len(queries)), 0
        for section in self.sections if k > 0 else ():
            end = begin + len(section)
            here = None if rows is None else rows[(rows >= begin) & (rows < end)] - begin
            near, scores = section.search(queries, SAME_FINGERPRINT.get(modality, modality), k, here)
            found = best(k, found, (np.where(near >= 0, near + begin, -1), scores))
            begin = end
        return found

    @cached_property
    def _patterns(self) -> dict[Modality, Patterns]:
        return {}

    def _called(self, name: str) -> np.ndarray:
        """Rows with this id, alias or formula."""
        found = named(self.table, self.aliases, name)
        try:
            return found | equal(self.table, "formula", reduced_formula(name))
        except LibraryError:
            return found


def open_libraries(paths: Sequence[Path] | None = None) -> Library:
    """Open libraries to be searched together; the embedded one when no path is given.

    Raises
    ------
    LibraryError
        If one of them cannot be opened.
    """
    return join([Library.open(path) for path in paths or [EMBEDDED]])


def join(libraries: Sequence[Library]) -> Library:
    """Several libraries as one; an id that two of them use is prefixed with its source, then numbered."""
    if len(libraries) == 1:
        return libraries[0]
    if not libraries:
        raise LibraryError("no library was given")
    begins = np.cumsum([0, *(len(library) for library in libraries)])
    table = pa.concat_tables([library.table for library in libraries])
    if pc.count_distinct(table.column("id")).as_py() < len(table):
        ids = unique_ids(table.column("id").to_pylist(), table.column("source").to_pylist())
        table = table.set_column(0, COLUMNS.field("id"), pa.array(ids, pa.string()))
    aliases = [
        library.aliases.set_column(0, ALIASES.field("row"), pc.add(library.aliases.column("row"), int(begin)))
        for library, begin in zip(libraries, begins, strict=False)
    ]
    return Library(
        table,
        pa.concat_tables(aliases),
        hashlib.sha256("".join(library.digest for library in libraries).encode()).hexdigest(),
        {"libraries": [library.manifest for library in libraries]},
        tuple(section for library in libraries for section in library.sections),
    )


def unique_ids(ids: Sequence[str], sources: Sequence[str], taken: Iterable[str] = ()) -> list[str]:
    """Ids made unique: the first use keeps its name, later ones are prefixed with their source, then numbered."""
    used = set(taken)
    result = []
    for id, source in zip(ids, sources, strict=True):
        candidate, number = id, 2
        if candidate in used:
            candidate = f"{source}/{id}"
        while candidate in used:
            candidate, number = f"{source}/{id}~{number}", number + 1
        used.add(candidate)
        result.append(candidate)
    return result
