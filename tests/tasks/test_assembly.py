from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import fake_run
import pytest

from microscopy.errors import PotentialError
from planning.records import Status
from reporting.result import Result
from tasks.assembly import ALTERNATIVES, alternatives, assemble, assemble_failure, contradictions


def test_a_whole_run_is_rendered_and_written(tmp_path: Path) -> None:
    files = assemble(
        micrograph=fake_run.micrograph(),
        denoised=fake_run.denoised(),
        candidates=fake_run.candidates(),
        reconstruction=fake_run.reconstruction(),
        relaxation=fake_run.relaxation(),
        verdict=fake_run.verdict(),
        decisions=fake_run.decisions(),
        found=fake_run.found(),
        timings={"relax": 1.0},
        notes=("told",),
    )
    result, folder = files.write(tmp_path, Path("/data/flake 07.tif"))
    assert folder.parent == tmp_path
    assert result.image.path == "/data/flake 07.tif"
    assert len(result.alternatives) == len(list((folder / "alternatives").iterdir())) == 2
    assert "numpy" in result.versions
    assert "told" in result.warnings
    assert (folder / "overlay.png").read_bytes().startswith(b"\x89PNG")
    written = json.loads((folder / "result.json").read_text())
    assert Result.from_dict(written) == result
    page = (folder / "report.html").read_text()
    assert f'value="{written["structure"]["a"]}"' in page
    assert page.count("This is the answer given.") == 1


@pytest.mark.parametrize("read", [True, False])
def test_a_failure_is_rendered_as_far_as_the_run_got(read: bool) -> None:
    files = assemble_failure(
        Path("x.tif"),
        fake_run.SHA,
        PotentialError("no weights"),
        "relax",
        fake_run.micrograph() if read else None,
        fake_run.decisions(),
        {"ingest": 0.1},
    )
    result = Result.from_dict(files.result)
    assert (result.status, result.error.message) == (Status.FAILED, "no weights")  # type: ignore[union-attr]
    assert result.image.shape == (fake_run.SHAPE if read else None)
    assert "no weights" in (files.report or "")


def test_atoms_on_top_of_one_another_are_no_crystal_to_write(tmp_path: Path) -> None:
    found = fake_run.reconstruction()
    collapsed = found.symmetrised.copy()
    collapsed.translate_sites([1], collapsed.frac_coords[2] - collapsed.frac_coords[1] + [0.0, 0.0, 1e-3])
    files = assemble(
        micrograph=fake_run.micrograph(),
        denoised=fake_run.denoised(),
        candidates=fake_run.candidates(),
        reconstruction=replace(found, structure=collapsed, symmetrised=collapsed),
        relaxation=None,
        verdict=fake_run.verdict(Status.REJECTED, 0.1),
        decisions=fake_run.decisions(),
        found=fake_run.found(),
        timings={},
        notes=(),
    )
    result, folder = files.write(tmp_path, Path("flake.tif"))
    assert (result.status, result.structure) == (Status.REJECTED, None)
    assert result.alternatives == ()
    assert any("on top of one another" in warning for warning in result.warnings)
    assert not (folder / "structure.cif").exists()
    items = fake_run.candidates().items
    others = replace(fake_run.candidates(), items=(items[0], replace(items[1], structure=collapsed), items[2]))
    assert [each.template for each in alternatives(others, found)] == ["nbs2-1h"]


def test_alternatives_are_likely_other_hypotheses() -> None:
    found = fake_run.candidates()
    assert [each.template for each in alternatives(found, fake_run.reconstruction())] == ["ws2-1h", "nbs2-1h"]
    unlikely = replace(found, items=(*found.items[:2], replace(found.items[2], probability=1e-6)))
    assert [each.template for each in alternatives(unlikely, fake_run.reconstruction())] == ["ws2-1h"]
    many = tuple(replace(found.items[1], template=str(number)) for number in range(9))
    assert len(alternatives(replace(found, items=many), fake_run.reconstruction())) == ALTERNATIVES


@pytest.mark.parametrize(
    ("known", "contradicted"),
    [
        ({}, False),
        ({"elements": ("Mo", "S")}, False),
        ({"formula": "Mo2S4"}, False),
        ({"elements": ("S", "W")}, True),
        ({"formula": "WS2"}, True),
    ],
)
def test_a_structure_other_than_the_user_said_is_told(known: dict[str, object], contradicted: bool) -> None:
    told = contradictions(replace(fake_run.micrograph(), **known), fake_run.reconstruction())  # type: ignore[arg-type]
    assert bool(told) is contradicted
