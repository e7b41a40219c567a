"""The Prefect UI as the person at the microscope sees it; with AUTOMAT_SCREENSHOTS=DIR, its pictures go there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from browser import Browser
from PIL import Image

from reporting.words import percent

pytestmark = pytest.mark.slow

GOOD, CUT, EMPTY = "flake 07.tif", "flake 08 (half copied).tif", "flake 09 <blank>.npy"

LARGEST = 200_000
"""Bytes of a picture in the documentation."""


def keep(browser: Browser, name: str) -> None:
    """Take a picture, and keep it if asked to."""
    picture = browser.picture()
    colours = picture.getcolors(1 << 24)
    assert colours
    assert len(colours) > 16, "the page is blank"
    folder = os.environ.get("AUTOMAT_SCREENSHOTS")
    if folder:
        path = Path(folder) / f"prefect-{name}.png"
        picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
        assert path.stat().st_size < LARGEST


def sureness(watched) -> str:
    """The confidence of the good micrograph, as the browser gives it: the pages must show what the result holds."""
    folder = watched.contents()[GOOD].folder
    confidence = json.loads((watched.out / folder / "result.json").read_text())["confidence"]
    return percent(confidence).replace("\N{NO-BREAK SPACE}", " ")


def test_the_dashboard_opens_without_a_complaint(watched, browser):
    text = browser.open(f"{watched.ui}/dashboard", "Flow Runs", "automat-flow", "automat-watch", height=760)
    assert "Can't connect" not in text
    browser.wait("total", "Completed")
    keep(browser, "dashboard")


def test_runs_carry_file_names_and_verdicts(watched, browser):
    tags = [f"\n{tag}\n" for tag in ("accepted", "failed", "rejected", "Se", "Sn", "SnSe2")]
    text = browser.open(
        f"{watched.ui}/runs?tags=drop", GOOD, CUT, EMPTY, "Accepted", "Failed", "Rejected", *tags, height=1060
    )
    assert "Can't connect" not in text
    assert "drop-folder" not in text
    keep(browser, "runs")


def test_failed_runs_are_found_by_their_tag(watched, browser):
    text = browser.open(f"{watched.ui}/runs?tags=failed", CUT, "1 Flow run")
    assert GOOD not in text
    assert EMPTY not in text


def test_a_run_shows_its_stages_and_their_states(watched, browser):
    run = watched.contents()[GOOD].run_id
    stages = ("ingest", "straighten", "denoise", "retrieve", "reconstruct", "relax", "verify", "defects", "report")
    text = browser.open(f"{watched.ui}/runs/flow-run/{run}?tab=TaskRuns", GOOD, "Accepted", *stages, height=1000)
    lines = text.splitlines()
    assert lines[lines.index("relax") + 1] == "Completed"
    keep(browser, "run")


def test_a_run_says_what_was_found_and_where(watched, browser):
    run = watched.contents()[GOOD].run_id
    folder = watched.contents()[GOOD].folder
    browser.open(
        f"{watched.ui}/runs/flow-run/{run}?tab=Details",
        "State Message",
        f"SnSe₂, {sureness(watched)}; see {watched.out}",
    )
    assert str(watched.out / folder) in browser.text()


def test_a_failed_run_says_why(watched, browser):
    run = watched.contents()[CUT].run_id
    browser.open(
        f"{watched.ui}/runs/flow-run/{run}?tab=Details", CUT, "Failed", "it may be truncated or damaged", height=1080
    )
    keep(browser, "failed")


def test_a_result_shows_picture_values_and_report(watched, browser):
    artifact = watched.artifact_of(GOOD)
    report = watched.out / watched.contents()[GOOD].folder / "report.html"
    assert report.is_file()
    browser.open(
        f"{watched.ui}/artifacts/artifact/{artifact['id']}",
        *(
            f"SnSe₂: accepted, {sureness(watched)}",
            "This is SnSe₂",
            "p-3m1 (no. 72)",
            "3.81",
            "eV/atom",
            "one lattice",
            str(report),
        ),
        height=1250,
    )
    assert loaded_pictures(browser) == 1
    keep(browser, "result")
    assert len(artifact["data"]) + len(artifact["description"]) <= 64 * 1024 + 4096


def test_the_overview_shows_what_was_seen(watched, browser):
    browser.open(
        f"{watched.ui}/artifacts",
        "folder-microscope-progress",
        "SnSe₂: accepted",
        "Not identified: rejected",
        height=1100,
    )
    assert loaded_pictures(browser) == 2
    keep(browser, "overview")


def test_the_ledger_leads_to_the_runs(watched, browser):
    artifact = watched.artifact("folder-microscope-ledger")
    text = browser.open(
        f"{watched.ui}/artifacts/artifact/{artifact['id']}",
        *(
            "3 micrographs (1 accepted, 1 failed, 1 rejected)",
            GOOD,
            CUT,
            f"night/{EMPTY}",
            f"SnSe₂ {sureness(watched)}",
        ),
        height=640,
    )
    assert "no lattice stands out" in text
    keep(browser, "ledger")
    browser.run(f"Array.from(document.querySelectorAll('a')).find(a => a.innerText == {GOOD!r}).click()")
    browser.wait("Task Runs", "Accepted", GOOD)
    assert browser.run("location.pathname") == f"/v2/runs/flow-run/{watched.contents()[GOOD].run_id}"


def test_the_progress_of_the_folder_is_told(watched, browser):
    artifact = watched.artifact("folder-microscope-progress")
    browser.open(f"{watched.ui}/artifacts/artifact/{artifact['id']}", "100", "3 micrographs")


def test_the_schedule_leads_to_what_it_did(watched, browser):
    deployment = watched.ask("deployments/filter", deployments={"name": {"any_": ["microscope"]}})[0]["id"]
    browser.open(
        f"{watched.ui}/deployments/deployment/{deployment}?tab=Description",
        *("Every 5 seconds", "Looks for new micrographs in", str(watched.folder), str(watched.out)),
        height=700,
    )
    keep(browser, "schedule")
    links = browser.run("Array.from(document.querySelectorAll('a')).map(a => a.href)")
    assert f"{watched.ui}/artifacts/key/folder-microscope-ledger" in links
    assert f"{watched.ui}/runs?tags=drop" in links


def test_work_pools_say_what_they_are_for(watched, browser):
    browser.open(
        f"{watched.ui}/work-pools", "automat-flow", "automat-gpu", "automat-library", "automat-watch", height=900
    )
    keep(browser, "work-pools")


def loaded_pictures(browser: Browser) -> int:
    """Number of inline pictures that the page has decoded."""
    script = "Array.from(document.images).filter(i => i.src.startsWith('data:image/png') && i.naturalWidth > 64).length"
    return int(browser.run(script))
