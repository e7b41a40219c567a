"""Suite ``reconstruction``: whether the pipeline reconstructs more of what was denoised first.

The image of a case is denoised, or averaged over unit cells, and the product's own pipeline is run on what comes out;
fields of view go down to a few cells, where there is little to average over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from benchmarks.cases import DEFAULT, Case, Question, Variant
from benchmarks.denoiser.output import Row, dose_text
from benchmarks.denoiser.request import Request
from benchmarks.denoiser.views import RECORDED
from benchmarks.evaluate import Bench, evaluate
from benchmarks.libraries import source_library
from benchmarks.rows import Row as Answer
from benchmarks.rows import rows_of
from benchmarks.tables import Table, median, rate
from planning.records import Branch

DOSES = (1e3, 1e4)
SIDES = (128, 192, 512)
"""Pixels of 0.1 Å."""

AVERAGE = "unit-cell average"


def cases(request: Request) -> Iterator[Case]:
    """Every image, with all questions that are asked of it."""
    variants = (DEFAULT, Variant(AVERAGE, average=True), *(Variant(n, denoiser=n) for n in request.denoisers))
    questions = tuple(Question(regime, variant=each) for regime, each in product(request.regimes, variants))
    for material, side, dose in product(request.materials, request.sides or SIDES, request.doses or DOSES):
        yield Case(material.id, questions, dose=dose, shape=(side, side), seed=request.seed)


def rows(request: Request) -> Iterator[Row]:
    """One record an image, see ``benchmarks.evaluate.evaluate``."""
    libraries = source_library(request.source, request.cache / "libraries", lambda *_: None)
    bench = Bench(request.cells, libraries)
    materials = {material.id: material for material in request.materials}
    for case in cases(request):
        yield evaluate(case, materials[case.material], bench)


def tables(found: Sequence[Row]) -> list[Table]:
    """Success by regime, field of view, dose and what was measured; and images won and lost by it."""
    answers = rows_of(found)
    groups: dict[tuple, list[Answer]] = {}
    for row in answers:
        groups.setdefault((row.regime, row.case.shape[0], row.case.dose, row.variant), []).append(row)
    cells = []
    for (regime, side, dose, variant), own in groups.items():
        recorded = {row.case.material: row.success for row in groups.get((regime, side, dose, DEFAULT.name), [])}
        won = sum(row.success and not recorded.get(row.case.material, True) for row in own)
        lost = sum(not row.success and recorded.get(row.case.material, False) for row in own)
        accepted = [row for row in own if row.accepted]
        cells.append(
            (
                regime,
                str(side),
                dose_text(dose),
                RECORDED if variant == DEFAULT.name else variant,
                str(len(own)),
                rate([row.success for row in own]),
                rate([row.hit(10) for row in own]),
                f"{won}, {lost}",
                f"{len(accepted)}, {sum(row.success for row in accepted)}",
                _redenoised(own),
                median([row.answer.get("measured_rmsd") for row in own if row.success], ".4f", len(own)),
            )
        )
    columns = (
        "regime",
        "side",
        "e/Å²",
        "measured",
        "images",
        "success, % (95 %)",
        "truth in ten, % (95 %)",
        "won, lost",
        "accepted, right",
        "redenoised: images, right, accepted, accepted and right",
        "RMSD as measured, Å",
    )
    note = (
        "Won, lost: images right that the recorded image got wrong, and the other way. RMSD before symmetry, "
        "median over successes; [n]: over n. Redenoised: the recorded image showed no lattice, so the planner "
        "looked for it in the denoised one; without that branch none of them is right."
    )
    return [Table("Reconstruction after denoising", columns, tuple(cells), note)]


def _redenoised(answers: Sequence[Answer]) -> str:
    """Images that the planner looked at denoised, and what came of them."""
    seen = [row for row in answers if Branch.REDENOISE in row.answer.get("branches", ())]
    accepted = [row for row in seen if row.accepted]
    counts = (len(seen), sum(row.success for row in seen), len(accepted), sum(row.success for row in accepted))
    return ", ".join(map(str, counts))
