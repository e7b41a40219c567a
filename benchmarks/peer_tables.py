"""Tables of other tools beside ours, on the same images in the same run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.peers.stage import FIRST
from benchmarks.tables import Table, median, rate

Rows = Sequence[Mapping[str, Any]]


def peers(rows: Rows) -> list[Table]:
    """One table for each kind of question that was asked."""
    made = (columns(_of(rows, "columns")), denoising(_of(rows, "denoise")), retrieval(_of(rows, "retrieval")))
    return [table for table in made if table.cells] + ([failed] if (failed := problems(rows)).cells else [])


def columns(rows: Rows) -> Table:
    """Positions of atomic columns, and the lattice that they make."""
    figures = {
        "recall": ("recall", ".3f"),
        "precision": ("precision", ".3f"),
        "median_error": ("median error, Å", ".4f"),
        "rms_error": ("rms error, Å", ".4f"),
        "lattice_error": ("lattice error", ".1e"),
        "seconds": ("seconds", ".2f"),
    }
    note = (
        "Medians over images. Every tool was told the smallest distance of columns, and the lattice is fitted to what "
        "it found with the true indices given. AutoMat had the template library and the elements; the others need "
        "neither."
    )
    return _table("Atomic columns", rows, figures, note)


def denoising(rows: Rows) -> Table:
    """Denoised images against the noise-free ones."""
    figures = {
        "psnr": ("PSNR, dB", ".2f"),
        "ssim": ("SSIM", ".3f"),
        "structure_factor_error": ("structure-factor error", ".3f"),
        "seconds": ("seconds", ".2f"),
    }
    note = (
        "Medians over images, edges left out; each image scaled to the noise-free one by least squares. The noise of "
        "iDPC is not white, which none of the others expects. AutoMat's is the classical blend of linear experts."
    )
    return _table("Denoising", rows, figures, note)


def retrieval(rows: Rows) -> Table:
    """Rank of the right template."""
    cells = []
    for (dose, competitor, elements), group in _grouped(rows, "dose", "competitor", "elements").items():
        shares = [rate([row[f"first{k}"] for row in group]) for k in FIRST]
        seconds = median([row["seconds"] for row in group], ".2f", len(group))
        cells.append((f"{dose:g}", competitor, elements, str(len(group)), *shares, seconds))
    names = tuple(f"right in first {k}, % (95 %)" if k > 1 else "right first, % (95 %)" for k in FIRST)
    templates = max((row["templates"] for row in rows), default=0)
    note = (
        f"{templates} templates. Label matching re-implements AutoMat's published retrieval from its description, on "
        "our denoised image; with elements given it chooses one among its three nearest. All pairs: labels segmented "
        "anew for every query, as published; measured on the first images only, as it is slow and ranks the same."
    )
    columns = ("dose, e/Å²", "method", "elements", "images", *names, "seconds")
    return Table("Template retrieval", columns, tuple(cells), note)


def problems(rows: Rows) -> Table:
    """Why a tool gave no answer."""
    cells = []
    for (competitor, problem), group in _grouped(
        [row for row in rows if row["problem"]], "competitor", "problem"
    ).items():
        cells.append((competitor, str(len(group)), problem[:200]))
    return Table("Tools that gave no answer", ("tool", "images", "why"), tuple(cells))


def _table(title: str, rows: Rows, figures: Mapping[str, tuple[str, str]], note: str) -> Table:
    cells = []
    for (dose, competitor), group in _grouped(rows, "dose", "competitor").items():
        answered = [row for row in group if not row["problem"]]
        values = [median([row[name] for row in answered], form, len(answered)) for name, (_, form) in figures.items()]
        cells.append((f"{dose:g}", competitor, f"{len(answered)} of {len(group)}", *values))
    names = tuple(label for label, _ in figures.values())
    return Table(title, ("dose, e/Å²", "tool", "answered", *names), tuple(cells), note)


def _of(rows: Rows, kind: str) -> Rows:
    return [row for row in rows if row["kind"] == kind]


def _grouped(rows: Rows, *names: str) -> dict[tuple[Any, ...], list[Mapping[str, Any]]]:
    """Rows by the values of some fields, the highest dose first."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: -row["dose"]):
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups
