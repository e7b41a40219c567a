from __future__ import annotations

import dataclasses
import json
import math

import fake_run
import pytest

from microscopy.errors import ReadError
from planning.records import Status
from reporting.building import build_result, failed_result
from reporting.result import Result

DOCUMENTED = {
    "": [
        "schema",
        "status",
        "confidence",
        "image",
        "structure",
        "alternatives",
        "energy",
        "checks",
        "calibration",
        "attempts",
        "error",
        "timings_s",
        "versions",
    ],
    "image": ["path", "sha256", "shape", "pixel_size", "modality"],
    "structure": ["cif", "formula", "natoms", "a", "b", "gamma", "layer_group", "origin", "template"],
    "energy": [
        "potential",
        "checkpoint",
        "energy_per_atom",
        "formation_energy_per_atom",
        "converged",
        "steps",
        "relaxed_cif",
    ],
    "calibration": ["scale", "shear", "warning"],
}
DOCUMENTED_ROWS = {
    "alternatives": ["formula", "confidence", "cif", "origin", "template"],
    "checks": ["name", "value", "limit", "passed"],
    "attempts": ["branch", "reason", "chosen_by"],
}


def assert_finite(value: object) -> None:
    if isinstance(value, dict):
        for each in value.values():
            assert_finite(each)
    elif isinstance(value, list):
        for each in value:
            assert_finite(each)
    elif isinstance(value, float):
        assert math.isfinite(value)


def test_every_documented_field_is_there() -> None:
    contents = fake_run.whole_run().to_dict()
    for section, names in DOCUMENTED.items():
        assert set(names) <= set(contents[section] if section else contents)
    for section, names in DOCUMENTED_ROWS.items():
        assert contents[section]
        assert all(set(names) <= set(row) for row in contents[section])


def test_values_come_from_the_records() -> None:
    contents = fake_run.whole_run().to_dict()
    assert contents["schema"] == 1
    assert contents["status"] == "accepted"
    assert contents["image"]["shape"] == list(fake_run.SHAPE)
    assert contents["image"]["pixel_size"] == list(fake_run.PIXEL)
    assert contents["image"]["modality"] == "iDPC"
    structure = contents["structure"]
    assert (structure["formula"], structure["natoms"], structure["layer_group"]) == ("MoS2", 3, 78)
    assert structure["cif"] == "structure.cif"
    assert [row["cif"] for row in contents["alternatives"]] == ["alternatives/1.cif", "alternatives/2.cif"]
    assert [row["formula"] for row in contents["alternatives"]] == ["WS2", "NbS2"]
    assert contents["attempts"][0]["branch"] == "redenoise"
    assert contents["energy"]["relaxed_cif"] == "relaxed.cif"


def test_json_round_trip() -> None:
    result = fake_run.whole_run()
    text = json.dumps(result.to_dict(), allow_nan=False)
    assert Result.from_dict(json.loads(text)) == result


def test_defects_are_null_until_somebody_looks() -> None:
    assert fake_run.whole_run().to_dict()["defects"] is None
    found = dataclasses.replace(fake_run.reconstruction(), defects=fake_run.defects())
    result = fake_run.whole_run(reconstruction=found)
    contents = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert contents["defects"]["sites"] == 116
    assert contents["defects"]["detectable"] == {"Mo": 11.2, "S": 4.1}
    assert contents["defects"]["note"].startswith("A missing S")
    first, second = contents["defects"]["found"]
    x, y = fake_run.defects().found[0].position
    assert first == {
        "kind": "vacancy",
        "element": "S",
        "replaced_by": None,
        "x": x,
        "y": y,
        "cell": [4, 5],
        "site": 1,
        "strength": -1.02,
        "probability": 0.97,
    }
    assert (second["kind"], second["element"], second["replaced_by"]) == ("substitution", "Mo", "W")
    assert Result.from_dict(contents) == result


def test_numbers_that_are_not_finite_become_null() -> None:
    relaxation = dataclasses.replace(fake_run.relaxation(formation=math.nan), max_force=math.inf)
    found = dataclasses.replace(fake_run.reconstruction(), shear=math.nan)
    contents = fake_run.whole_run(relaxation=relaxation, reconstruction=found).to_dict()
    assert contents["energy"]["formation_energy_per_atom"] is None
    assert contents["energy"]["max_force"] is None
    assert contents["calibration"]["shear"] is None
    assert_finite(contents)


def test_run_without_crystal_keeps_the_schema() -> None:
    result = build_result(fake_run.micrograph(), fake_run.verdict(Status.REJECTED))
    contents = result.to_dict()
    assert set(DOCUMENTED[""]) <= set(contents)
    assert contents["structure"] is None
    assert contents["energy"] is None
    assert contents["calibration"] == {"scale": None, "shear": None, "warning": None}


def test_failure_names_stage_type_and_message() -> None:
    result = failed_result("a b.dm3", None, ReadError("a b.dm3: the file is\n  empty"))
    contents = result.to_dict()
    assert set(DOCUMENTED[""]) <= set(contents)
    assert contents["status"] == "failed"
    assert contents["error"] == {"stage": "ingest", "type": "ReadError", "message": "a b.dm3: the file is empty"}
    assert Result.from_dict(json.loads(json.dumps(contents))) == result


@pytest.mark.parametrize(("scale", "warned"), [(1.0, False), (1.015, False), (1.031, True), (0.9, True)])
def test_calibration_warns_beyond_two_percent(scale: float, warned: bool) -> None:
    warning = fake_run.whole_run(reconstruction=fake_run.reconstruction(scale)).calibration.warning
    assert (warning is not None) == warned


def test_estimated_pixel_size_is_said() -> None:
    micrograph = dataclasses.replace(fake_run.micrograph(), pixel_size_source="estimate")
    warning = build_result(micrograph, fake_run.verdict()).calibration.warning
    assert warning
    assert "estimate" in warning


def test_fallback_of_the_potential_is_a_warning() -> None:
    assert fake_run.relaxation().note in fake_run.whole_run().warnings


def test_other_schemas_are_refused() -> None:
    with pytest.raises(ValueError, match="schema 2"):
        Result.from_dict(fake_run.whole_run().to_dict() | {"schema": 2})
