"""The template libraries of a benchmark, built once and kept by content: of the source, or with displaced columns."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pymatgen.core.structure import Structure

from benchmarks.cramer_rao import projected_columns
from benchmarks.materials import Material
from benchmarks.metrics import success_3d
from library.build import MODALITIES, Progress, build_from_entries, build_library
from library.fingerprint import FINGERPRINT_VERSION
from library.folder import SCHEMA
from library.sources import Entry
from library.store import Library
from reconstruction.hypotheses import looks_alike


def source_library(source: Path | None, cache: Path, progress: Progress) -> tuple[Path, ...]:
    """Folder of the library of a source, built when it is missing; none for the embedded library."""
    if source is None:
        return ()
    folder = cache / f"{source.stem}-{_digest(source)}"
    if not (folder / "manifest.json").is_file():
        build_library([source], folder, command="automat bench", progress=progress)
    return (folder,)


def displaced_library(materials: Sequence[Material], displacement: float, seed: int, cache: Path) -> Path:
    """Folder of a library of the materials with every column moved in the plane at random, Å rms."""
    entries = [Entry(m.id, _displaced(m, displacement, seed), "displaced") for m in materials]
    lines = [f"{e.id} {np.round(e.structure.cart_coords, 6).tolist()}" for e in entries]
    name = hashlib.sha256("\n".join([f"{FINGERPRINT_VERSION} {SCHEMA}", *lines]).encode()).hexdigest()[:12]
    folder = cache / f"displaced-{name}"
    if not (folder / "manifest.json").is_file():
        facts = {"command": "automat bench", "parameters": {"displacement": displacement, "seed": seed}}
        build_from_entries(entries, folder, MODALITIES, facts, None)
    return folder


def alike(truth: Structure, library: Library) -> set[str]:
    """Ids of the templates that are the material, whatever their id.

    To the benchmark's structure matcher, heights included, or to the product, which sees the projection only.
    """
    found = set()
    for row in library.rows(formula=truth.composition.reduced_formula):
        template = library.template(int(row)).structure
        if looks_alike(template, truth) or success_3d(template, truth):
            found.add(library.ids[row])
    return found


def _displaced(material: Material, displacement: float, seed: int) -> Structure:
    rng = np.random.default_rng(zlib.crc32(f"displaced/{seed}/{material.id}".encode()))
    structure = material.structure
    column_of = projected_columns(structure)  # no image could undo what moves stacked atoms apart
    moves = np.zeros((len(structure), 3))
    # Two components of equal variance make the rms distance; a common move would be no displacement at all.
    moves[:, :2] = rng.normal(scale=displacement / np.sqrt(2), size=(column_of.max() + 1, 2))[column_of]
    moves -= moves.mean(axis=0)
    return Structure(structure.lattice, structure.species, structure.cart_coords + moves, coords_are_cartesian=True)


def _digest(source: Path) -> str:
    """Hash of a source's content and of what turns it into fingerprints."""
    state = hashlib.sha256(json.dumps([FINGERPRINT_VERSION, SCHEMA]).encode())
    for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
        if path.is_file():
            state.update(path.read_bytes())
    return state.hexdigest()[:12]
