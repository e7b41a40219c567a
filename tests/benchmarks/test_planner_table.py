from __future__ import annotations

from benchmarks.cases import Case
from benchmarks.planner_table import recovered
from benchmarks.rows import Row


def row(image: int, planner: str, success: bool, accepted: bool = False, regime: str = "I") -> Row:
    answer = {"score": {"success": success}, "status": "accepted" if accepted else "ambiguous"}
    return Row(Case("m", (), dose=1e4, seed=image), regime, f"planner {planner}", 1, answer, "MoS2")


def test_what_is_recovered_is_counted_among_what_failed_at_first() -> None:
    first = [row(1, "none", True), row(2, "none", False), row(3, "none", False)]
    then = [row(1, "rules", True, True), row(2, "rules", True, True), row(3, "rules", False)]
    table = recovered([*first, *then])
    assert [cells[5] for cells in table.cells] == ["–", "1 of 2"] * 2
    assert [cells[6] for cells in table.cells][:2] == ["0, 0", "2, 2"]


def test_an_answer_that_the_planner_spoils_shows_among_the_right() -> None:
    table = recovered([row(1, "none", True), row(1, "rules", False, True)])
    rules = table.cells[1]
    assert rules[4].startswith("0.0")
    assert (rules[5], rules[6]) == ("0 of 0", "1, 0")


def test_mistaken_elements_are_no_part_of_the_summary() -> None:
    table = recovered([row(1, "none", True), row(1, "none", False, regime="I, mistaken")])
    assert table.cells[-1][:4] == ("all", "I and II", "none", "1")
