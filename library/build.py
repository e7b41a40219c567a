"""Building a library: sources → cleaning → fingerprints → duplicates merged → store."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from pymatgen.analysis.structure_matcher import StructureMatcher

from library.cleaning import CleaningError, clean
from library.fingerprint import fingerprints
from library.folder import write
from library.geometry import as_periodic
from library.records import Template
from library.sources import Entry, Refusal, read_source
from library.store import unique_ids
from microscopy.errors import LibraryError
from microscopy.micrograph import Modality

MODALITIES = (Modality.IDPC, Modality.HAADF)
"""Fingerprints stored by default; those of other modalities are computed when they are first used."""

SIMILAR = 0.98
"""Fingerprints of one structure from two sources (lattices within about 0.5 %) agree at least this well."""

LENGTH_TOLERANCE, SITE_TOLERANCE, ANGLE_TOLERANCE = 0.01, 0.03, 1.0
"""Duplicates: relative cell lengths, site distance over (V/N)^(1/3), degrees. DFT codes differ by less, structure
types by more."""

BATCH = 256
"""Structures fingerprinted between two progress reports."""

Progress = Callable[[str, int, int | None], None]
"""Called with a stage's name, how much is done, and the total when it is known."""


@dataclass(frozen=True, eq=False)
class Collected:
    """Clean templates and why other entries were refused, counted by source and by reason."""

    templates: list[Template]
    sources: dict[str, int]
    refusals: dict[str, int]
    examples: dict[str, str]


def build_library(
    sources: Sequence[Path],
    out: Path,
    *,
    modalities: Sequence[Modality] = MODALITIES,
    command: str = "automat library build",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Build a library from published structures and write it to a folder.

    Parameters
    ----------
    sources
        Paths that `library.sources.read_source` understands.
    out
        Folder of the library; an older library there is replaced.
    modalities
        Fingerprints to store.
    command
        What the manifest says made it.
    progress
        Told about each stage.

    Returns
    -------
    dict
        The manifest: ``count``, ``sources`` (entries read by source), ``refusals`` (count by reason), ``merged``…

    Raises
    ------
    LibraryError
        If a source cannot be read at all, nothing usable is in them, or the folder cannot be written.
    """
    if not sources:
        raise LibraryError("no source was given")
    entries = (item for source in sources for item in read_source(source))
    parameters = {"sources": [source.name for source in sources]}
    return build_from_entries(entries, out, modalities, {"command": command, "parameters": parameters}, progress)


def collect(entries: Iterable[Entry | Refusal], progress: Progress | None = None) -> Collected:
    """Clean every entry; refusals are counted, with one example of each reason."""
    templates: list[Template] = []
    read: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for number, item in enumerate(entries, start=1):
        refusal = item if isinstance(item, Refusal) else None
        if isinstance(item, Entry):
            read[item.source] += 1
            try:
                structure = clean(item.structure)
                templates.append(
                    Template(
                        item.id,
                        structure,
                        structure.composition.reduced_formula,
                        item.source,
                        item.licence,
                        item.url,
                        item.prototype,
                    )
                )
            except CleaningError as error:
                refusal = Refusal(item.id, error.reason, str(error))
        if refusal is not None:
            refused[refusal.reason] += 1
            examples.setdefault(refusal.reason, f"{refusal.id}: {refusal.detail or refusal.reason}"[:200])
        if progress is not None:
            progress("read", number, None)
    return Collected(templates, dict(read), dict(refused), examples)


def merge(
    templates: Sequence[Template], patterns: Float32[np.ndarray, "N D"], progress: Progress | None = None
) -> tuple[list[int], list[list[str]]]:
    """Find duplicates: rows to keep (the first of each kind) and, for each, the ids merged into it.

    Only pairs with one formula, one number of sites and similar fingerprints are compared site by site.
    """
    matcher = StructureMatcher(
        ltol=LENGTH_TOLERANCE, stol=SITE_TOLERANCE, angle_tol=ANGLE_TOLERANCE, primitive_cell=False, scale=False
    )
    groups: dict[tuple[str, int], list[int]] = defaultdict(list)
    aliases: dict[int, list[str]] = {}
    for row, template in enumerate(templates):
        group = groups[template.formula, len(template.structure)]
        near = [kept for kept in group if float(patterns[kept] @ patterns[row]) > SIMILAR]
        same = next((kept for kept in near if _same(matcher, templates[kept], template)), None)
        if same is None:
            group.append(row)
            aliases[row] = []
        else:
            aliases[same].append(template.id)
        if progress is not None:
            progress("merge", row + 1, len(templates))
    return list(aliases), list(aliases.values())


def _same(matcher: StructureMatcher, first: Template, second: Template) -> bool:
    """Whether two clean templates are one structure; their cells are reduced already."""
    return bool(matcher.fit(as_periodic(first.structure), as_periodic(second.structure), skip_structure_reduction=True))


def build_from_entries(
    entries: Iterable[Entry | Refusal],
    out: Path,
    modalities: Sequence[Modality],
    facts: dict[str, Any],
    progress: Progress | None,
) -> dict[str, Any]:
    """Clean, fingerprint, merge and write entries; ``facts`` join the manifest, which is returned.

    Raises
    ------
    LibraryError
        If no entry is usable, or the folder cannot be written.
    """
    collected = collect(entries, progress)
    if not collected.templates:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in collected.refusals.items())
        raise LibraryError(f"no usable monolayer in the sources: {reasons or 'they are empty'}")
    templates = collected.templates
    patterns = {modality: _fingerprints(templates, modality, progress) for modality in modalities or MODALITIES}
    rows, aliases = merge(templates, next(iter(patterns.values())), progress)
    kept = [templates[row] for row in rows]
    ids = unique_ids([t.id for t in kept], [t.source for t in kept])
    named = [
        Template(id, t.structure, t.formula, t.source, t.licence, t.url, t.prototype)
        for id, t in zip(ids, kept, strict=True)
    ]
    facts = {
        **facts,
        "sources": collected.sources,
        "refusals": collected.refusals,
        "refusal_examples": collected.examples,
        "merged": len(templates) - len(kept),
    }
    return write(out, named, {modality: rows_of[rows] for modality, rows_of in patterns.items()}, facts, aliases)


def _fingerprints(templates: Sequence[Template], modality: Modality, progress: Progress | None) -> np.ndarray:
    parts = []
    for begin in range(0, len(templates), BATCH):
        parts.append(fingerprints([t.structure for t in templates[begin : begin + BATCH]], modality))
        if progress is not None:
            progress(f"fingerprint {modality.value}", min(begin + BATCH, len(templates)), len(templates))
    return np.concatenate(parts)
