"""Tables count every failure, and say over how many answers a mean is."""

import pytest

from benchmarks import tables
from benchmarks.attribution import Cause
from benchmarks.cases import Case, Question, Variant
from benchmarks.rows import grouped, rows_of

RIGHT = {
    "status": "accepted",
    "confidence": 0.9,
    "hit": 1,
    "cause": "none",
    "score": {
        "success": True,
        "success_3d": True,
        "rmsd_projected": 0.01,
        "lattice": {"length": 1e-3, "angle": 0.1},
        "scale": 1.0,
    },
    "seconds": {"retrieve": 0.5},
    "peak_mib": {"retrieve": 800.0},
    "scale": 1.0,
    "true_scale": 1.0,
    "shear": 0.0,
    "true_shear": 0.0,
}
WRONG = {**RIGHT, "cause": "ranking", "hit": 3, "score": {**RIGHT["score"], "success": False, "success_3d": False}}
NOTHING = {"status": "rejected", "confidence": 0.0, "hit": None, "cause": "lattice", "score": None}


def record(*answers, material="a", dose=1e4, error=None, **more):
    questions = tuple(Question(regime, variant=Variant(variant)) for regime, variant, _ in answers)
    case = Case(material, questions, dose=dose, **more)
    given = [{"regime": regime, "variant": variant, **answer} for regime, variant, answer in answers]
    content = {"case": case.to_json(), "tier": 2, "formula": "XY", "answers": [] if error else given}
    return {**content, "error": error} if error else content


def default(regime, answer):
    return (regime, "default", answer)


def test_an_image_that_cannot_be_made_fails_every_question():
    rows = rows_of([record(default("I", RIGHT), default("II", RIGHT), error="SimulationError: too large")])
    assert [row.regime for row in rows] == ["I", "II"]
    assert not any(row.success or row.answered or row.accepted for row in rows)
    assert {row.cause for row in rows} == {"failure"}


def test_accuracy_counts_failures_and_says_over_how_many_the_mean_is():
    rows = rows_of(
        [
            record(default("I", RIGHT), material="a"),
            record(default("I", WRONG), material="b"),
            record(default("I", NOTHING), material="c"),
            record(default("I", RIGHT), material="d", error="boom"),
        ]
    )
    table = tables.accuracy("t", rows, ("regime",), lambda row: (row.regime,))
    (cells,) = table.cells
    named = dict(zip(table.columns, cells, strict=True))
    assert named["answers"] == "4"
    assert named["success, % (95 %)"].startswith("25.0 %")
    assert named["truth in ten, % (95 %)"].startswith("50.0 %")
    assert named["median lattice error"] == "1.00e-03 [2]"
    assert named["accepted, right"] == "2, 1"


def test_attribution_names_each_cause_once():
    rows = rows_of([record(default("I", RIGHT), default("II", WRONG)), record(default("I", NOTHING), material="b")])
    table = tables.attribution(rows)
    assert {cells[0]: cells[1:3] for cells in table.cells} == {
        "none": ("1", "0"),
        "lattice": ("1", "0"),
        "ranking": ("0", "1"),
    }
    assert {cause.value for cause in Cause} >= {cells[0] for cells in table.cells}


def test_the_papers_line_is_printed_beside_every_regime():
    rows = rows_of([record(default("I", RIGHT), default("IV", WRONG))])
    table = tables.beside_the_paper(rows, {"mae": 55.0, "floor": 50.0})
    assert table.cells[0][2:] == ("83.2 %", "0.11", "–", "321.6")
    assert table.cells[1][-1] == "55.0"
    assert table.cells[2][-1] == "–"


def test_scale_and_shear_are_held_against_what_was_applied():
    off = {**RIGHT, "scale": 1.05, "true_scale": 1.1, "shear": 0.1, "true_shear": 0.105}
    table = tables.artefacts(rows_of([record(default("I", off), artefacts={"scan_shear": 0.1})]))
    assert table.cells[0][4].startswith("0.0 %")
    assert table.cells[0][5].startswith("100.0 %")


def test_precision_relates_each_error_to_its_own_bound():
    bounds = (0.005, 0.01, 0.02, 0.0)  # the last is of a crystal of one column
    found = [
        record(default("I", {**RIGHT, "bound_rmsd": bound, "measured_rmsd": 0.015}), material=str(bound))
        for bound in bounds
    ]
    table = tables.precision(rows_of(found))
    assert table.cells[0][-1] == "1.50 [3]"


def test_energies_are_compared_on_the_entries_that_have_all_three():
    energy = {"formation": -0.9, "potential": "sevennet-0"}
    rows = rows_of(
        [record(default("I", {**RIGHT, "energy": energy}), material=name) for name in ("a", "b", "c")]
        + [record(default("I", {**RIGHT, "energy": {**energy, "formation": None}}), material="d")]
    )
    floors = {
        "a": {"dft": -1.0, "formation": -0.95},
        "b": {"dft": None, "formation": -0.95},
        "c": {"dft": -1.0, "formation": None},
        "d": {"dft": -1.0, "formation": -0.95},
    }
    lines = tables.energy_errors(rows, floors)
    table, figures = tables.energy(lines, asked=4)
    assert [line["material"] for line in lines] == ["a"]
    assert figures["mae"] == pytest.approx(100.0)
    assert figures["floor"] == pytest.approx(50.0)
    assert "2.000" in table.note
    assert "1 of 4" in table.note


def test_markdown_is_a_table():
    text = tables.Table("t", ("a", "b"), (("1", "2"), ("3", "4"))).markdown()
    assert text.splitlines() == ["| a | b |", "|---|---|", "| 1 | 2 |", "| 3 | 4 |"]


def test_groups_keep_their_order():
    rows = rows_of([record(default("II", RIGHT)), record(default("I", RIGHT), material="b")])
    assert list(grouped(rows, lambda row: row.regime)) == ["II", "I"]


def test_without_failures_there_is_no_table_of_them():
    assert tables.failures(rows_of([record(default("I", NOTHING))])) is None
    lost = tables.failures(rows_of([record(default("I", RIGHT), error="boom")]))
    assert lost is not None
    assert "boom" in lost.cells[0]
