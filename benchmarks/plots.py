"""The figures of a report, as PNG."""

from __future__ import annotations

import io
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from ase.data import atomic_numbers, covalent_radii
from ase.data.colors import jmol_colors
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pymatgen.core.structure import Structure

from benchmarks.metrics import wilson
from benchmarks.reliability import reliability
from benchmarks.rows import Row, grouped
from benchmarks.tables import with_bound

DPI = 110
CROP = 30.0
"""Å along the edge of the picture of a case."""


def png(figure: Figure) -> bytes:
    """Bytes of a figure, which is closed; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()


def success_by_dose(rows: Sequence[Row]) -> bytes:
    """Success against dose, one curve a regime, with intervals."""
    figure, axes = plt.subplots(figsize=(6, 3.6))
    for regime, group in grouped(rows, lambda row: row.regime).items():
        by_dose = grouped(sorted(group, key=lambda r: r.case.dose or 0), lambda row: row.case.dose or 0.0)
        doses = np.array(list(by_dose))
        rates = np.array([sum(r.success for r in each) / len(each) for each in by_dose.values()])
        bounds = np.array([wilson(sum(r.success for r in each), len(each)) for each in by_dose.values()]).T
        axes.errorbar(doses, rates, np.abs(bounds - rates), marker="o", capsize=3, label=f"regime {regime}")
    axes.axhline(0.832, color="0.6", linestyle=":", label="paper, regime I")
    axes.set(xscale="log", xlabel="dose, e/Å²", ylabel="success", ylim=(-0.02, 1.02))
    axes.legend(fontsize=8)
    return png(figure)


def reliability_curves(rows: Sequence[Row]) -> bytes:
    """Share of right answers against confidence, one curve a regime."""
    figure, axes = plt.subplots(figsize=(4.2, 4.2))
    axes.plot([0, 1], [0, 1], color="0.7", linestyle=":")
    for regime, group in grouped([row for row in rows if row.answered], lambda row: row.regime).items():
        curve = reliability([r.confidence for r in group], [r.success for r in group])
        errors = np.array([[max(0.0, b.right - b.interval[0]), max(0.0, b.interval[1] - b.right)] for b in curve]).T
        axes.errorbar(
            [b.confidence for b in curve],
            [b.right for b in curve],
            errors,
            marker="o",
            capsize=2,
            label=f"regime {regime}",
        )
    axes.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1), ylim=(-0.02, 1.02))
    axes.legend(fontsize=8)
    return png(figure)


def position_errors(rows: Sequence[Row]) -> bytes:
    """Position error against its bound."""
    figure, axes = plt.subplots(figsize=(4.6, 4.2))
    limits = [1e-5, 1.0]
    for (displacement, dose), group in grouped(rows, lambda r: (r.case.displacement, r.case.dose)).items():
        found = with_bound(group)
        if found:
            rmsd, bound = np.array(found, dtype=float).T
            label = f"{dose:g} e/Å², " + ("displaced" if displacement else "exact templates")
            axes.plot(bound, np.maximum(rmsd, limits[0]), "o" if displacement else "x", alpha=0.6, label=label)
    axes.plot(limits, limits, color="0.7", linestyle=":")
    axes.set(xscale="log", yscale="log", xlabel="Cramér–Rao bound, Å", ylabel="RMSD as measured, Å")
    axes.legend(fontsize=7)
    return png(figure)


def energies(lines: Sequence[Mapping[str, Any]]) -> bytes:
    """Formation energies against DFT, of what was reconstructed and of the truth."""
    figure, axes = plt.subplots(figsize=(4.6, 4.2))
    dft = np.array([line["dft"] for line in lines])
    axes.plot(dft, [line["floor"] for line in lines], "o", alpha=0.4, label="true structure (floor)")
    axes.plot(dft, [line["found"] for line in lines], "x", alpha=0.8, label="reconstructed")
    ends = [float(dft.min()) - 0.2, float(dft.max()) + 0.2]
    axes.plot(ends, ends, color="0.7", linestyle=":")
    axes.set(xlabel="DFT formation energy, eV/atom", ylabel="potential, relaxed, eV/atom")
    axes.legend(fontsize=8)
    return png(figure)


def seconds_by_stage(rows: Sequence[Row]) -> bytes:
    """Median seconds of every stage, stacked, by regime."""
    figure, axes = plt.subplots(figsize=(6, 2.6))
    regimes = grouped([row for row in rows if row.answer.get("seconds")], lambda row: row.regime)
    stages = list(dict.fromkeys(stage for row in rows for stage in row.answer.get("seconds", {})))
    left = np.zeros(len(regimes))
    for stage in stages:
        spent = np.array(
            [statistics.median([r.answer["seconds"].get(stage, 0.0) for r in group]) for group in regimes.values()]
        )
        axes.barh([f"regime {regime}" for regime in regimes], spent, left=left, label=stage)
        left += spent
    axes.set(xlabel="median seconds per image")
    axes.legend(fontsize=7, ncol=4)
    return png(figure)


def case_picture(image: np.ndarray, pixel_size: float, truth: Structure, answer: Structure | None) -> bytes:
    """The image, the true crystal and the answer, each in its own frame at one scale."""
    figure, axes = plt.subplots(1, 3, figsize=(8.4, 2.9))
    side = int(min(CROP / pixel_size, *image.shape))
    crop = image[:side, :side]
    axes[0].imshow(crop, cmap="gray", extent=(0, side * pixel_size, side * pixel_size, 0))
    axes[0].set_title(f"image, {side * pixel_size:.0f} Å", fontsize=8)
    for axis, structure, name in ((axes[1], truth, "truth"), (axes[2], answer, "answer")):
        if structure is not None:
            _draw(axis, structure)
        axis.set_title(f"{name}: {structure.composition.reduced_formula if structure else 'none'}", fontsize=8)
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
    return png(figure)


def _draw(axes: Axes, structure: Structure, extent: float = 14.0) -> None:
    """Draw a slab in projection, the lowest atoms first."""
    cell = structure.lattice.matrix[:2, :2]
    reach = int(np.ceil(extent / min(np.linalg.norm(cell, axis=1)))) + 2
    shifts = np.array([(i, j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)]) @ cell
    for site in sorted(structure, key=lambda each: each.coords[2]):
        number = atomic_numbers[site.specie.symbol]
        points = site.coords[:2] + shifts
        points = points[np.all(np.abs(points - extent / 2) < extent / 2, axis=1)]
        size = 60 * covalent_radii[number] ** 2
        axes.scatter(points[:, 0], points[:, 1], s=size, color=jmol_colors[number], edgecolors="0.2", linewidths=0.5)
    corner = np.array([[0, 0], cell[0], cell[0] + cell[1], cell[1], [0, 0]])
    axes.plot(*(corner + 0.25 * extent).T, color="k", linewidth=0.8)
    axes.set(xlim=(0, extent), ylim=(extent, 0), aspect="equal")
