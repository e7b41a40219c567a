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
from jaxtyping import Float32, Int64
from pymatgen.core import Composition, Lattice, Structure

from library.fingerprint import FINGERPRINT_SIZE, fingerprints
from library.folder import COLUMNS, content_digest, load, read_fingerprints
from library.index import FingerprintIndex
from library.records import Template
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
    digest
        sha256 over the digests of the data files: changes whenever the content does.
    manifest
        What the manifest says; for several libraries joined, of each of them under ``"libraries"``.
    """

    table: pa.Table
    digest: str
    manifest: Mapping[str, Any]
    _stored: tuple[Mapping[Modality, Path], ...]
    _lengths: tuple[int, ...]

    @classmethod
    def open(cls, path: Path) -> Library:
        """Open a library folder; sizes and schema are checked, contents are not (see `verify`).

        Raises
        ------
        LibraryError
            If the folder is not a library, is damaged, or was made for other fingerprints.
        """
        manifest, table = load(path)
        stored = {
            Modality(name.removeprefix("fingerprints-")): path / facts["path"]
            for name, facts in manifest["files"].items()
            if name.startswith("fingerprints-")
        }
        return cls(table, content_digest(manifest), manifest, (stored,), (table.num_rows,))

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
        values = {name: self.table.column(name)[row].as_py() for name in COLUMNS.names}
        lattice = Lattice(np.reshape(values["cell"], (3, 3)), pbc=(True, True, False))
        return Template(
            id=values["id"],
            structure=Structure(lattice, values["numbers"], np.reshape(values["frac"], (-1, 3))),
            formula=values["formula"],
            source=values["source"],
            licence=values["licence"],
            url=values["url"],
            prototype=values["prototype"],
        )

    def rows(
        self,
        elements: Iterable[str] | None = None,
        formula: str | None = None,
        exclude: Iterable[str] = (),
        kinds: int | None = None,
    ) -> Int64[np.ndarray, " R"]:
        """Rows that pass every filter, ascending.

        Parameters
        ----------
        elements
            The complete set of chemical symbols.
        formula
            Any spelling of the formula.
        kinds
            Number of different elements.
        exclude
            Ids (aliases count) or formulas to leave out.

        Raises
        ------
        LibraryError
            If the formula cannot be read.
        """
        keep = pa.chunked_array([pa.array(np.ones(len(self), dtype=bool))])
        if elements is not None:
            keep = pc.and_(keep, pc.equal(self.table.column("elements"), "-".join(sorted(set(elements)))))
        if kinds is not None:
            keep = pc.and_(keep, pc.equal(pc.count_substring(self.table.column("elements"), "-"), kinds - 1))
        if formula is not None:
            keep = pc.and_(keep, pc.equal(self.table.column("formula"), reduced_formula(formula)))
        mask = np.asarray(keep.combine_chunks().to_numpy(zero_copy_only=False), dtype=bool)
        for name in exclude:
            mask &= ~self._named(name)
        return np.flatnonzero(mask).astype(np.int64)

    def fingerprints(self, modality: Modality) -> Float32[np.ndarray, "N D"]:
        """Fingerprints of all rows; a modality that is not stored is computed, once per process."""
        modality = SAME_FINGERPRINT.get(modality, modality)
        if modality not in self._cache:
            self._cache[modality] = self._load(modality)
        return self._cache[modality]

    def search(
        self,
        query: Float32[np.ndarray, " D"],
        modality: Modality,
        k: int,
        rows: Int64[np.ndarray, " R"] | None = None,
    ) -> tuple[Int64[np.ndarray, " K"], Float32[np.ndarray, " K"]]:
        """Rows whose fingerprints are most like the query, and their scores, best first; see `FingerprintIndex`."""
        modality = SAME_FINGERPRINT.get(modality, modality)
        if modality not in self._indices:
            self._indices[modality] = FingerprintIndex(self.fingerprints(modality))
        return self._indices[modality].search(query, k, rows)

    @cached_property
    def _cache(self) -> dict[Modality, np.ndarray]:
        return {}

    @cached_property
    def _indices(self) -> dict[Modality, FingerprintIndex]:
        return {}

    def _load(self, modality: Modality) -> np.ndarray:
        parts, begin = [], 0
        for stored, length in zip(self._stored, self._lengths, strict=True):
            if modality in stored:
                parts.append(read_fingerprints(stored[modality], length))
            elif length:
                structures = [self.template(row).structure for row in range(begin, begin + length)]
                parts.append(fingerprints(structures, modality))
            begin += length
        if not parts:
            return np.empty((0, FINGERPRINT_SIZE), np.float32)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _named(self, name: str) -> np.ndarray:
        """Rows with this id, alias or formula."""
        hit = pc.equal(self.table.column("id"), name)
        aliases = self.table.column("aliases").combine_chunks()
        found = np.asarray(hit.combine_chunks().to_numpy(zero_copy_only=False), dtype=bool)
        parents = pc.list_parent_indices(aliases).to_numpy(zero_copy_only=False)
        flat = pc.equal(pc.list_flatten(aliases), name).to_numpy(zero_copy_only=False)
        found[parents[np.asarray(flat, dtype=bool)]] = True
        try:
            wanted = reduced_formula(name)
        except LibraryError:
            return found
        same = pc.equal(self.table.column("formula"), wanted).combine_chunks()
        return found | np.asarray(same.to_numpy(zero_copy_only=False), dtype=bool)


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
    table = pa.concat_tables([library.table for library in libraries])
    ids = unique_ids(table.column("id").to_pylist(), table.column("source").to_pylist())
    table = table.set_column(0, COLUMNS.field("id"), pa.array(ids, pa.string()))
    digest = hashlib.sha256("".join(library.digest for library in libraries).encode()).hexdigest()
    return Library(
        table,
        digest,
        {"libraries": [library.manifest for library in libraries]},
        tuple(part for library in libraries for part in library._stored),
        tuple(length for library in libraries for length in library._lengths),
    )


def unique_ids(ids: Sequence[str], sources: Sequence[str]) -> list[str]:
    """Ids made unique: the first use keeps its name, later ones are prefixed with their source, then numbered."""
    taken: set[str] = set()
    result = []
    for id, source in zip(ids, sources, strict=True):
        candidate, number = id, 2
        if candidate in taken:
            candidate = f"{source}/{id}"
        while candidate in taken:
            candidate, number = f"{source}/{id}~{number}", number + 1
        taken.add(candidate)
        result.append(candidate)
    return result


def reduced_formula(text: str) -> str:
    """Any spelling of a formula in the reduced form that templates carry.

    Raises
    ------
    LibraryError
        If the text is not a formula.
    """
    try:
        composition = Composition(text)
        if not composition or not all(element.Z for element in composition.elements):
            raise ValueError(text)
        return composition.reduced_formula
    except (ValueError, AttributeError, KeyError) as error:
        raise LibraryError(f"{text!r} is not a chemical formula") from error
