"""The tables of a report: every rate with its 95 % Wilson interval, every mean beside how many answers it is over."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.attribution import MEANING, Cause
from benchmarks.metrics import wilson
from benchmarks.reliability import calibration_error, chance_error
from benchmarks.rows import Row, grouped

PAPER = {"rmsd": 0.11, "formation": 321.57, "success": 0.832}
"""AutoMat, arXiv 2505.12650, STEM2Mat: projected lattice RMSD in Å, formation energy MAE in meV/atom, success rate."""

LEAST_BOUND = 1e-6
"""Å: below, the crystal is of one column, and its relative positions are none."""

WORST = 6
"""Materials whose formation energies are named as the worst."""

RECOVERED = 0.01
"""Deviation from the true scale or shear that counts as recovered."""


@dataclass(frozen=True)
class Table:
    """A heading, column names and cells of text."""

    title: str
    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """GitHub's table."""
        lines = [f"| {' | '.join(row)} |" for row in (self.columns, *self.cells)]
        lines.insert(1, "|" + "---|" * len(self.columns))
        return "\n".join(lines)


def rate(outcomes: Sequence[bool]) -> str:
    """``98.3 % (94 to 100)``: rate and interval, percent."""
    if not outcomes:
        return "–"
    low, high = wilson(sum(outcomes), len(outcomes))
    return f"{sum(outcomes) / len(outcomes):.1%} ({100 * low:.0f} to {100 * high:.0f})".replace("%", " %")


def median(values: Sequence[float | None], form: str = ".4f", needed: int = 0) -> str:
    """Median of what there is, with the count where it is not that of all."""
    present = [value for value in values if value is not None and math.isfinite(value)]
    if not present:
        return "–"
    text = format(statistics.median(present), form)
    return text if len(present) == needed else f"{text} [{len(present)}]"


def accuracy(title: str, rows: Sequence[Row], labels: Sequence[str], key: Callable[[Row], tuple[Any, ...]]) -> Table:
    """Accuracy by any key; ``labels`` name its parts."""
    cells = []
    for values, group in grouped(rows, key).items():
        answered = [row for row in group if row.answered]
        accepted = [row for row in group if row.accepted]
        cells.append(
            (
                *(f"{value:g}" if isinstance(value, float) else str(value) for value in values),
                str(len(group)),
                rate([row.success for row in group]),
                rate([row.success_3d for row in group]),
                rate([row.hit(10) for row in group]),
                median([row.rmsd for row in group if row.success], ".1e", sum(row.success for row in group)),
                median([row.score["lattice"]["length"] for row in answered], ".2e", len(group)),
                f"{len(accepted)}, {sum(row.success for row in accepted)}",
                _calibration(answered),
            )
        )
    columns = (
        *labels,
        "answers",
        "success, % (95 %)",
        "in 3D, % (95 %)",
        "truth in ten, % (95 %)",
        "median RMSD, Å",
        "median lattice error",
        "accepted, right",
        "ECE (by chance)",
    )
    return Table(title, columns, tuple(cells), "RMSD over successes; [n]: over n answers.")


def _calibration(answered: Sequence[Row]) -> str:
    """Calibration error, and what it would be on average if the confidences were true."""
    if not answered:
        return "–"
    confidence = [row.confidence for row in answered]
    return f"{calibration_error(confidence, [row.success for row in answered]):.3f} ({chance_error(confidence):.3f})"


def beside_the_paper(rows: Sequence[Row], energy: Mapping[str, float] | None) -> Table:
    """The paper's line and ours, regime by regime."""
    published = (f"{100 * PAPER['success']:.1f} %", f"{PAPER['rmsd']:.2f}", "–", f"{PAPER['formation']:.1f}")
    cells = [("AutoMat as published (regime I)", "450", *published)]
    for regime, group in grouped(rows, lambda row: row.regime).items():
        right = [row for row in group if row.success]
        mae = f"{energy['mae']:.1f}" if energy and regime == "I" else "–"
        cells.append(
            (
                f"this run, regime {regime}",
                str(len(group)),
                rate([row.success for row in group]),
                median([row.rmsd for row in right], ".1e", len(right)),
                median([row.answer.get("measured_rmsd") for row in right], ".4f", len(right)),
                mae,
            )
        )
    return Table(
        "Beside the paper",
        ("", "images", "success, % (95 %)", "RMSD, Å", "as measured, Å", "formation energy MAE, meV/atom"),
        tuple(cells),
        "The paper's success and materials are its own (STEM2Mat, ideal images, elements given); its RMSD is a mean, "
        "ours a median over successes. With its symmetry imposed most of a crystal's sites have no freedom left, and "
        "the template is the material: as measured is before symmetry.",
    )


def attribution(rows: Sequence[Row]) -> Table:
    """How often each stage is to blame, by regime."""
    regimes = list(grouped(rows, lambda row: row.regime))
    counts = {regime: Counter(row.cause for row in rows if row.regime == regime) for regime in regimes}
    cells = [
        (cause.value, *(str(counts[regime][cause.value]) for regime in regimes), MEANING[cause])
        for cause in Cause
        if any(counts[regime][cause.value] for regime in regimes)
    ]
    return Table("Where answers go wrong", ("cause", *(f"regime {r}" for r in regimes), "meaning"), tuple(cells))


def artefacts(rows: Sequence[Row]) -> Table:
    """Accuracy by artefact, and whether scale and shear are recovered."""
    cells = []
    for condition, group in grouped(rows, lambda row: row.case.condition).items():
        answered = [row for row in group if row.answered]
        cells.append(
            (
                condition,
                str(len(group)),
                rate([row.success for row in group]),
                f"{sum(row.accepted for row in group)}, {sum(row.accepted and row.success for row in group)}",
                rate([abs(row.answer["scale"] / row.answer["true_scale"] - 1) < RECOVERED for row in answered]),
                rate([abs(row.answer["shear"] - row.answer["true_shear"]) < RECOVERED for row in answered]),
            )
        )
    return Table(
        "One artefact at a time, regime I",
        ("image", "images", "success, % (95 %)", "accepted, right", "scale within 1 %", "shear within 1 %"),
        tuple(cells),
        "Lengths are not judged where the artefact changes them. Scale and shear: over all answers, against what was "
        "applied; a template that differs from the material by more than 1 % counts as missed.",
    )


def precision(rows: Sequence[Row]) -> Table:
    """Position error against the Cramér–Rao bound."""
    cells = []
    for (dose, displacement), group in grouped(rows, lambda r: (r.case.dose, r.case.displacement)).items():
        found = with_bound(group)
        cells.append(
            (
                f"{dose:g}",
                f"{displacement:g}",
                str(len(group)),
                rate([row.success for row in group]),
                median([row.rmsd for row in group if row.success], ".1e", len(group)),
                median([measured for measured, _ in found], ".4f", len(group)),
                median([bound for _, bound in found], ".4f", len(group)),
                median([measured / bound for measured, bound in found], ".2f", len(group)),
            )
        )
    columns = (
        "dose, e/Å²",
        "templates displaced by, Å",
        "images",
        "success, % (95 %)",
        "median RMSD, Å",
        "as measured, Å",
        "median bound, Å",
        "median ratio",
    )
    note = (
        "As measured: before symmetry is imposed, which is what the bound is of; with its symmetry most of a crystal's "
        "sites have no freedom left. Ratio: of what is measured to the bound. Crystals of one column have no bound."
    )
    return Table("Positions against the Cramér–Rao bound", columns, tuple(cells), note)


def with_bound(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """RMSD as measured and its bound, Å, of all answers that have both."""
    pairs = [(row.answer.get("measured_rmsd"), row.answer.get("bound_rmsd")) for row in rows if row.success]
    return [(measured, bound) for measured, bound in pairs if measured is not None and bound and bound > LEAST_BOUND]


def energy_errors(rows: Sequence[Row], floors: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One line for each answer with an energy whose material has a DFT energy and a floor."""
    lines = []
    for row in rows:
        found, floor = row.answer.get("energy"), floors.get(row.case.material, {})
        if not found or found["formation"] is None or floor.get("dft") is None or floor.get("formation") is None:
            continue
        lines.append(
            {
                "material": row.case.material,
                "formula": row.formula,
                "dft": floor["dft"],
                "found": found["formation"],
                "floor": floor["formation"],
                "potential": found["potential"],
                "right": row.success,
            }
        )
    return lines


def energy(lines: Sequence[Mapping[str, Any]], asked: int) -> tuple[Table, dict[str, float]]:
    """Formation energy against DFT beside the floor, on the same entries; and the figures themselves."""
    mine = [1000 * abs(line["found"] - line["dft"]) for line in lines]
    floor = [1000 * abs(line["floor"] - line["dft"]) for line in lines]
    figures = {"mae": statistics.fmean(mine), "floor": statistics.fmean(floor)}
    cells = tuple(
        (name, str(len(values)), f"{statistics.fmean(values):.1f}", f"{statistics.median(values):.1f}")
        for name, values in (
            ("reconstructed, then relaxed", mine),
            ("true structure, relaxed (the floor)", floor),
            ("reconstructed, right answers only", [e for e, line in zip(mine, lines, strict=True) if line["right"]]),
        )
        if values
    )
    potentials = ", ".join(sorted({line["potential"] for line in lines}))
    worst = sorted(lines, key=lambda line: abs(line["found"] - line["dft"]))
    by_material = {each["material"]: each for each in worst}  # the worst of each stays
    named = [f"{each['formula']} ({1000 * (each['found'] - each['dft']):+.0f})" for each in by_material.values()]
    note = (
        f"Regime I, {potentials}; coverage {len(lines)} of {asked} answers (both energies and a DFT value needed). "
        f"Ratio to the floor: {figures['mae'] / figures['floor']:.3f}; correlation with DFT: {_correlation(lines)}; "
        f"worst, meV/atom: {', '.join(reversed(named[-WORST:]))}. The paper reports {PAPER['formation']} meV/atom."
    )
    columns = ("structure", "entries", "MAE against DFT, meV/atom", "median, meV/atom")
    return Table("Formation energy", columns, cells, note), figures


def _correlation(lines: Sequence[Mapping[str, Any]]) -> str:
    if len(lines) < 3:
        return "–"
    return f"{statistics.correlation([each['found'] for each in lines], [each['dft'] for each in lines]):.3f}"


def cost(rows: Sequence[Row]) -> Table:
    """Median seconds and largest peak memory of every stage, by threads."""
    stages = list(dict.fromkeys(stage for row in rows for stage in row.answer.get("seconds", {})))
    cells = []
    for (threads, regime), group in grouped(rows, lambda r: (r.case.threads, r.regime)).items():
        for stage in stages:
            seconds = [row.answer["seconds"][stage] for row in group if stage in row.answer.get("seconds", {})]
            peaks = [row.answer["peak_mib"][stage] for row in group if stage in row.answer.get("peak_mib", {})]
            if seconds:
                p95 = sorted(seconds)[min(len(seconds) - 1, int(0.95 * len(seconds)))]
                cells.append(
                    (
                        regime,
                        stage,
                        str(threads),
                        str(len(seconds)),
                        f"{statistics.median(seconds):.3f}",
                        f"{p95:.3f}",
                        f"{max(peaks):.0f}" if peaks else "–",
                    )
                )
    columns = ("regime", "stage", "threads", "images", "median s", "95 % below, s", "peak, MiB")
    note = (
        "Of this machine, with whatever else it did during the run: compare rows, not tables. Peak: resident memory of "
        "the whole process, the interpreter and its libraries (about 700 MiB) included."
    )
    return Table("Seconds and memory", columns, tuple(cells), note)


def failures(rows: Sequence[Row]) -> Table | None:
    """Answers that could not be had at all."""
    lost = [row for row in rows if row.error]
    if not lost:
        return None
    cells = tuple((row.case.material, row.formula, row.case.condition, row.regime, row.error[:200]) for row in lost)
    return Table("Failed runs", ("material", "formula", "image", "regime", "error"), cells)
