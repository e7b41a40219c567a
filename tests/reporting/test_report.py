from __future__ import annotations

import base64
import dataclasses
import gzip
import json
import re
from html.parser import HTMLParser
from typing import Any

import fake_run
import pytest

from microscopy.errors import ReadError
from planning.records import Status
from reporting.building import build_result, failed_result
from reporting.report import render_report
from reporting.result import Result
from reporting.viewer import viewer_data

MAX_BYTES = 6_000_000
EMPTY = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """What a browser would load, the numbers with their fields, and whether elements close."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.data: dict[str, float] = {}
        self.images: list[dict[str, str | None]] = []
        self.scripts: dict[str, str] = {}
        self.policy = ""
        self.open: list[str] = []
        self._script: str | None = None
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.loads += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "action", "data"}]
        if tag == "data":
            self.data[named["data-field"] or ""] = float(named["value"] or "nan")
        if tag == "img":
            self.images.append(named)
        if tag == "meta" and named.get("http-equiv") == "Content-Security-Policy":
            self.policy = named["content"] or ""
        if tag == "script":
            self._script = named.get("id") or "main"
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._script = None

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[self._script] = data
        else:
            self.text += data


def read(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    return page


def page_of(result: Result, **records: Any) -> tuple[str, Page]:
    html = render_report(result, **records)
    return html, read(html)


def whole_page() -> tuple[Result, str, Page]:
    result = fake_run.whole_run()
    html, page = page_of(
        result,
        micrograph=fake_run.micrograph(),
        denoised=fake_run.denoised(),
        reconstruction=fake_run.reconstruction(),
        alternatives=fake_run.candidates().items[1:],
        relaxation=fake_run.relaxation(),
        overlay=b"\x89PNG",
    )
    return result, html, page


@pytest.fixture(scope="module")
def whole() -> tuple[Result, str, Page]:
    return whole_page()


def test_nothing_is_loaded_from_anywhere(whole: tuple[Result, str, Page]) -> None:
    _, html, page = whole
    assert page.loads
    assert all(load.startswith("data:image/png;base64,") for load in page.loads)
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style
    assert not re.search(r"@import|url\(", style[1])
    assert not re.search(r"\bfetch\(|XMLHttpRequest|import\(|https?:", page.scripts["main"])
    # And the browser is told to refuse what the viewer's code might try.
    assert "default-src 'none'" in page.policy
    assert "connect-src" not in page.policy
    assert "http" not in page.policy


def test_size_is_bounded(whole: tuple[Result, str, Page]) -> None:
    assert len(whole[1].encode()) < MAX_BYTES


def test_numbers_are_those_of_the_result(whole: tuple[Result, str, Page]) -> None:
    result, _, page = whole
    contents = result.to_dict()
    assert {
        "confidence",
        "structure.a",
        "structure.b",
        "structure.gamma",
        "structure.layer_group",
        "energy.energy_per_atom",
        "energy.formation_energy_per_atom",
        "calibration.scale",
        "margin",
        "checks.0.value",
        "candidates.1.probability",
        "timings_s.relax",
    } <= set(page.data)
    for field, shown in page.data.items():
        value: Any = contents
        for part in field.split("."):
            value = value[int(part)] if isinstance(value, list) else value[part]
        assert shown == value, field


def test_pictures_have_descriptions(whole: tuple[Result, str, Page]) -> None:
    images = whole[2].images
    assert len(images) == 7
    assert all(len(image["alt"] or "") > 20 for image in images)


def test_page_tells_what_matters(whole: tuple[Result, str, Page]) -> None:
    result, _, page = whole
    text = " ".join(page.text.split())
    assert "This is MoS₂" in text
    for check in result.checks:
        assert check.meaning in text
    for warning in result.warnings:
        assert warning in text
    assert result.calibration.warning
    assert result.calibration.warning in text
    assert result.energy
    for each in (result.energy.potential, result.energy.checkpoint, result.energy.scale, result.attempts[0].reason):
        assert each in text
    assert "inferred (template)" in text


def test_viewer_holds_the_structures(whole: tuple[Result, str, Page]) -> None:
    scripts = whole[2].scripts
    data = json.loads(scripts["viewer-data"])
    assert [sorted(set(frame["names"])) for frame in data["structures"]] == [
        ["Mo", "S"],
        ["Mo", "S"],
        ["S", "W"],
        ["Nb", "S"],
    ]
    assert data["structures"][0]["cell"][0] == pytest.approx(fake_run.A)
    code = gzip.decompress(base64.b64decode(scripts["viewer-code"])).decode()
    assert "Chemiscope" in code
    assert "StructureVisualizer" in code


def test_viewer_shows_a_rotation_not_a_mirror_image() -> None:
    structure = fake_run.monolayer()
    frame = json.loads(viewer_data([("x", structure)]))["structures"][0]
    shown = [[frame[axis][i] for axis in "xyz"] for i in range(3)]
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = shown
    (px, py, pz), (qx, qy, qz), (rx, ry, rz) = structure.cart_coords.tolist()
    before = px * (qy * rz - qz * ry) - py * (qx * rz - qz * rx) + pz * (qx * ry - qy * rx)
    after = ax * (by * cz - bz * cy) - ay * (bx * cz - bz * cx) + az * (bx * cy - by * cx)
    assert after == pytest.approx(before)


def test_names_cannot_break_out() -> None:
    evil = '</script><script>alert(1)</script><img src="https://example.org/x.png">.tif'
    micrograph = dataclasses.replace(fake_run.micrograph(), source=evil, metadata={"note": evil})
    html, page = page_of(
        build_result(micrograph, fake_run.verdict(), reconstruction=fake_run.reconstruction()),
        micrograph=micrograph,
        reconstruction=fake_run.reconstruction(),
    )
    assert "alert(1)</script>" not in html
    assert all(load.startswith("data:") for load in page.loads)
    assert "</script>" not in viewer_data([(evil, fake_run.monolayer())])


@pytest.mark.parametrize(
    ("status", "title"),
    [(Status.ACCEPTED, "MoS₂"), (Status.AMBIGUOUS, "MoS₂?"), (Status.REJECTED, "Not identified")],
)
def test_title_claims_no_more_than_the_verdict(status: Status, title: str) -> None:
    result = build_result(fake_run.micrograph(), fake_run.verdict(status), reconstruction=fake_run.reconstruction())
    html, _ = page_of(result, reconstruction=fake_run.reconstruction())
    assert f"<h1>{title}</h1>" in html


def test_rejection_without_a_crystal() -> None:
    result = build_result(fake_run.micrograph(), fake_run.verdict(Status.REJECTED))
    _, page = page_of(result, micrograph=fake_run.micrograph())
    assert "No crystal was found" in page.text
    assert "viewer-code" not in page.scripts


def test_failure_is_explained() -> None:
    _, page = page_of(failed_result("x <y>.tif", None, ReadError("x <y>.tif: the file is empty")))
    assert "x <y>.tif: the file is empty" in page.text
    assert "Not processed" in page.text


def test_defects_are_listed_only_when_somebody_looked(whole: tuple[Result, str, Page]) -> None:
    assert "Point defects" not in whole[2].text
    found = dataclasses.replace(fake_run.reconstruction(), defects=fake_run.defects(33))
    result = fake_run.whole_run(reconstruction=found)
    _, page = page_of(result, micrograph=fake_run.micrograph())
    text = " ".join(page.text.split())
    assert "Point defects 33 point defects in 116 atomic columns." in text
    assert "A missing S would be 4.1 standard errors." in text
    assert text.count("S missing") == text.count("Mo replaced by W") == 15
    assert "3 more are in result.json" in text
    assert page.data["defects.found.29.probability"] == 0.97
    assert page.data["defects.detectable.Mo"] == 11.2
    assert "defects.found.30.probability" not in page.data
