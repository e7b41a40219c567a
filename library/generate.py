"""A library from prototypes: every decoration relaxed with a potential and kept if physical."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Composition, Structure
from threadpoolctl import threadpool_limits

from library.build import MODALITIES, Progress, build_from_entries
from library.decoration import Decoration, Prototype, decorations
from library.relaxing import MAX_FLATTENING, MAX_STRAIN, OPTIONS, SCALES, SOFT_OPTIONS, relax_decoration
from library.sources import Entry, Refusal
from library.work_file import Generated, append, read_generated
from library.workers import HERE, Workers, completed
from library.writing import refuse_foreign
from microscopy.errors import LibraryError
from models.potentials import Potential, load_potential
from models.relaxation import RelaxOptions

POTENTIAL, SOFT_POTENTIAL = "sevennet-0", "sevennet-l3i5"
"""Potentials whose weights ship with the dependencies, so that anyone can repeat the build."""


def generate_library(
    prototypes: Sequence[Prototype],
    out: Path,
    *,
    potential: str | None = None,
    elements: Collection[str] | None = None,
    workers: Workers = HERE,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Relax the decorations of prototypes and write those that are physical as a library.

    Parameters
    ----------
    prototypes
        Structure types.
    out
        Folder of the library. Finished decorations are kept beside it, in ``OUT.work.jsonl``: started again, it
        continues.
    potential
        Name of a potential or path of a checkpoint; None for the embedded ones.
    elements
        Take only decorations of these elements; None for all that the prototypes allow.
    workers
        Who relaxes; the library is the same whoever does.
    progress
        Told about each decoration.

    Returns
    -------
    dict
        The manifest of the library: ``count``, ``refusals`` (count by reason), ``parameters``…

    Raises
    ------
    LibraryError
        If nothing can be made of the prototypes, no decoration is kept, or the folder cannot be written.
    PotentialError
        If there is no such potential.
    """
    # What would refuse the folder after hours of relaxing is better said now.
    refuse_foreign(out)
    plan = all_decorations(prototypes, elements)
    if not plan:
        only = f" of {', '.join(sorted(elements))} alone" if elements else ""
        raise LibraryError(f"the rules of the {len(prototypes)} prototype(s) allow no decoration{only}")
    items = list(generate(plan, work_file(out), potential, progress, workers))
    parameters = generation_parameters(prototypes, potential)
    parameters |= {"prototypes": [p.name for p in prototypes], "elements": sorted(elements) if elements else None}
    facts = {"command": "automat library generate", "parameters": parameters}
    return write_generated(items, out, facts, source="generated from prototypes", progress=progress, workers=workers)


def work_file(out: Path) -> Path:
    """File beside a library that keeps the decorations finished so far."""
    return out.with_name(f"{out.name}.work.jsonl")


def all_decorations(prototypes: Iterable[Prototype], elements: Collection[str] | None = None) -> list[Decoration]:
    """Every decoration, of these elements alone if given: published lattices first, then by number of atoms."""
    found = [decoration for prototype in prototypes for decoration in decorations(prototype)]
    if elements is not None:
        found = [d for d in found if {symbol for _, (symbol, _) in d.filling} <= set(elements)]
    return sorted(found, key=lambda d: (not _published(d), len(d.prototype.sites)))


def generate(
    plan: Sequence[Decoration],
    work: Path,
    potential: str | None = None,
    progress: Progress | None = None,
    workers: Workers = HERE,
) -> Iterator[Generated]:
    """Yield every decoration relaxed, in order, taking finished ones from `work` and appending new ones.

    Soft prototypes are relaxed to smaller forces and, unless a potential is given, with the larger embedded one.

    Raises
    ------
    LibraryError
        If `work` holds something else than this function's lines, or a relaxation keeps killing its worker.
    """
    finished = {item.key: item for item in read_generated(work)}
    keys = [_key(each.structure(), *_means(each, potential)) for each in plan]
    # The same start may belong to two prototypes under two names.
    left = {key: each for key, each in zip(keys, plan, strict=True) if key not in finished}
    begun = len(plan) - len(left)
    with closing(completed(workers, partial(_relax, potential=potential), left.values())) as made:
        for number, (_, item) in enumerate(made, begun + 1):
            finished[item.key] = append(work, item)
            if progress is not None:
                progress(item.id, number, len(plan))
    for key, each in zip(keys, plan, strict=True):
        yield replace(finished[key], id=each.id, prototype=each.prototype.name)


def _relax(decoration: Decoration, potential: str | None) -> Generated:
    """Relax one decoration, on one thread: sums over another number end in other digits."""
    chosen, limits = _means(decoration, potential)
    start = decoration.structure()
    with threadpool_limits(1):
        return relax_decoration(decoration, start, _key(start, chosen, limits), chosen, limits)


def _means(decoration: Decoration, potential: str | None) -> tuple[Potential, RelaxOptions]:
    """Return the potential and the limits with which a decoration is relaxed."""
    soft = decoration.prototype.soft
    return load_potential(potential or (SOFT_POTENTIAL if soft else POTENTIAL)), SOFT_OPTIONS if soft else OPTIONS


def write_generated(
    items: Iterable[Generated],
    out: Path,
    facts: dict[str, Any],
    *,
    source: str,
    licence: str = "",
    progress: Progress | None = None,
    workers: Workers = HERE,
) -> dict[str, Any]:
    """Write relaxed decorations as a library; see `library.build.build_from_entries`."""
    entries = (
        Refusal(item.id, item.refusal)
        if item.structure is None
        else Entry(item.id, item.structure, source, licence, "", item.prototype)
        for item in items
    )
    return build_from_entries(entries, out, MODALITIES, facts, progress, workers)


def generation_parameters(prototypes: Iterable[Prototype], potential: str | None = None) -> dict[str, Any]:
    """How decorations are relaxed, for a manifest."""
    soft = {
        "prototypes": sorted(prototype.name for prototype in prototypes if prototype.soft),
        "potential": potential or SOFT_POTENTIAL,
        "max_force": SOFT_OPTIONS.max_force,
    }
    return {
        "potential": potential or POTENTIAL,
        "max_force": OPTIONS.max_force,
        "soft": soft,
        "max_steps": OPTIONS.max_steps,
    }


def _published(decoration: Decoration) -> bool:
    formula = decoration.structure().composition.reduced_formula
    return any(Composition(known.formula).reduced_formula == formula for known in decoration.prototype.known)


def _key(start: Structure, potential: Potential, options: RelaxOptions) -> str:
    numbers = [site.specie.Z for site in start]
    state = [np.round(start.lattice.matrix, 6).tolist(), np.round(start.frac_coords, 6).tolist(), numbers]
    limits = [options.max_force, options.max_steps, SCALES, MAX_STRAIN, MAX_FLATTENING, potential.checkpoint]
    return hashlib.sha256(json.dumps([state, limits]).encode()).hexdigest()[:24]
