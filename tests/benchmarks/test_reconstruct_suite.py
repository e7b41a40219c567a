"""The suite's book-keeping: a failure counts, a longer run repeats a shorter one, a stopped run goes on."""

import json
from dataclasses import asdict

import pytest
from ase.db import connect
from monolayers import MONOLAYERS

from benchmarks.metrics import score
from benchmarks.reconstruct_suite import Settings, _finished, materials, table, view_of

SETTINGS = Settings(1e4, "given", False, "chain", 1, (64, 96), 0.1)


def record(name, prediction, truth):
    return {"id": name, "timings_s": {"retrieve": 0.5}, "score": asdict(score(prediction, truth)), "hit": 1}


def test_failures_count_in_every_rate():
    truth = MONOLAYERS["graphene"][0]
    failed = {"id": "x", "timings_s": {}, "score": {}, "error": "ReconstructionError: no lattice"}
    text = table([record("y", truth, truth), failed])
    assert "| success | 50.0%" in text
    assert "| answered | 50.0%" in text
    assert next(line for line in text.splitlines() if "RMSD" in line).endswith("| 1 of 2 |")


@pytest.mark.parametrize(("elements", "withheld", "regime"), [("given", False, "I"), ("unknown", True, "IV")])
def test_regimes(elements, withheld, regime):
    assert Settings(1e4, elements, withheld, "chain", 1, (64, 96), 0.1).regime == regime


def test_view_depends_on_seed_and_material_alone():
    assert view_of("2dm-1", SETTINGS) == view_of("2dm-1", SETTINGS)
    assert view_of("2dm-1", SETTINGS).rotation != view_of("2dm-2", SETTINGS).rotation


def test_longer_run_repeats_a_shorter_one(tmp_path):
    database = tmp_path / "truth.db"
    with connect(str(database)) as rows:
        for name, (structure, _) in MONOLAYERS.items():
            rows.write(structure.to_ase_atoms(), data={"material_id": name})
    short, long = (materials(database, None, limit, seed=3) for limit in (3, 6))
    assert [name for name, _ in short] == [name for name, _ in long][:3]
    assert all(score(structure, MONOLAYERS[name][0]).success for name, structure in long)
    assert {name for name, _ in materials(database, frozenset({"SnS"}), 9, seed=3)} == {"SnS"}


def test_a_line_cut_short_is_computed_again(tmp_path):
    results = tmp_path / "results.jsonl"
    results.write_text(json.dumps({"id": "whole"}) + '\n{"id": "cu')
    assert set(_finished(results)) == {"whole"}
    with results.open("a") as stream:
        stream.write(json.dumps({"id": "next"}) + "\n")
    assert set(_finished(results)) == {"whole", "next"}
    assert _finished(tmp_path / "none.jsonl") == {}
