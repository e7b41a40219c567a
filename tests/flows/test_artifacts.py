"""What the Prefect UI is given to show."""

from __future__ import annotations

from pathlib import Path

import fake_run
import pytest

from flows import artifacts
from intake.records import Content, State
from planning.records import Status

EVIL = "<img src=x onerror=alert(1)>|[x](javascript:alert(1))`*_\n# a&lt;"


def unescaped(text: str) -> str:
    """What is left of a text for Markdown to interpret."""
    return "".join(part[1:] for part in f"\0{text}".split("\\"))


@pytest.mark.parametrize("mark", list("\\`*_[]<>|&~#!$"))
def test_what_marks_up_is_escaped(mark: str) -> None:
    assert artifacts.escaped(f"a{mark}b") == f"a\\{mark}b"


def test_a_file_name_is_never_markup() -> None:
    content = Content("0" * 64, EVIL, EVIL, 0.0, State.FAILED, "failed", reason=EVIL, run_id="1")
    for text in (
        artifacts.ledger_table([content]).splitlines()[-1],
        artifacts.progress(EVIL, []),
        artifacts.code(EVIL),
    ):
        assert "\n" not in text
        for mark in ("<img", "alert(1)>", "`*", "# a&"):
            assert mark not in unescaped(text)
    assert artifacts.ledger_table([content]).splitlines()[-1].replace("\\|", "").count("|") == 5


def test_a_path_is_shown_as_it_is_and_stays_in_its_cell() -> None:
    assert artifacts.code("/data/a_b *c*") == "`/data/a_b *c*`"
    assert artifacts.code("/data/a|b") == "`/data/a\\|b`"


@pytest.mark.parametrize(
    ("parts", "key"),
    [(("Flake 07.TIF", "3f3f"), "flake-07-tif-3f3f"), (("薄片", "3f3f"), "3f3f"), (("—",), "unnamed")],
)
def test_a_key_is_what_prefect_allows(parts: tuple[str, ...], key: str) -> None:
    assert artifacts.key(*parts) == key


def test_progress_counts_answers_and_what_has_none() -> None:
    contents = [
        Content("0" * 64, "a", "a", 0.0, State.DONE, "accepted"),
        Content("1" * 64, "b", "b", 0.0, State.DONE, "accepted"),
        Content("2" * 64, "c", "c", 0.0, State.FAILED, "failed"),
        Content("3" * 64, "d", "d", 0.0, State.RUNNING),
        Content("4" * 64, "e", "e", 0.0),
    ]
    text = artifacts.progress("night", contents)
    assert text == "**night**: 5 micrographs (2 accepted, 1 failed, 1 under way, 1 waiting)"
    assert artifacts.progress("night", []) == "**night**: 0 micrographs (none yet)"


def test_a_row_of_the_ledger_leads_to_the_run_and_stays_short() -> None:
    content = Content(
        "0" * 64, "a.tif", "n/a.tif", 0.0, State.FAILED, "failed", reason=f"/data/n/a.tif: {'x' * 5000}", run_id="17"
    )
    row = artifacts.ledger_table([content]).splitlines()[-1]
    assert row.startswith("| [n/a.tif](../../runs/flow-run/17) | failed |  | xxx")
    assert len(row) < 400


def test_a_rejected_structure_is_not_to_be_relied_on() -> None:
    rejected = fake_run.whole_run().model_copy(update={"status": Status.REJECTED})
    assert "not to be relied on" in artifacts.values(rejected)["Formula"]
    assert "not to be relied on" not in artifacts.values(fake_run.whole_run())["Formula"]


def test_the_summary_holds_verdict_values_checks_and_the_way_to_the_report() -> None:
    text = artifacts.summary(fake_run.whole_run(), Path("/out/flake 07-3f3f"))
    assert text.startswith("This is MoS₂")
    assert "| Verdict | accepted, confidence" in text
    assert "| Check | Value | Limit | Meaning |" in text
    assert "Report: `/out/flake 07-3f3f/report.html`" in text
