"""The export is what the protocol's evaluator reads, and says what our own figures say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from monolayers import MONOLAYERS
from PIL import Image

from benchmarks.cases import Case, Question
from benchmarks.evaluate import parsed, truth_cif
from benchmarks.materials import BenchmarkError, Material
from benchmarks.results import Plan, record_path, write_plan, write_record
from benchmarks.stem2crystal.export import METHODS, export_predictions, sid
from benchmarks.stem2crystal.metrics import aggregate, score_sample
from reconstruction.cif import structure_cif

NAMES = ("MoS2 1H", "h-BN", "graphene")
CHECKOUT = os.environ.get("STEM2CRYSTAL_BENCH", "")
"""Folder of a checkout of STEM2Crystal-Bench."""


@pytest.fixture
def run(tmp_path):
    """A run of three materials: the first right, the second right at rank two, the third without an answer."""
    materials = {name: Material(name, MONOLAYERS[name][0]) for name in NAMES}
    cases = [
        Case(name, (Question("formula"),), noise="low", shape=(256, 256), pixel_size=0.15, export=True)
        for name in NAMES
    ]
    places = {"cells": str(tmp_path / "cells"), "libraries": [], "displaced": None}
    plan = Plan("stem2crystal", 1, materials, {c.key: c for c in cases}, {"identity": "x", "bench": places})
    folder = tmp_path / "run"
    write_plan(folder, plan)
    ranked = {
        "MoS2 1H": ["MoS2 1H", "MoS2 1T"],
        "h-BN": ["graphene", "h-BN"],
        "graphene": [],
    }
    for case in cases:
        texts = [structure_cif(MONOLAYERS[name][0]) for name in ranked[case.material]]
        answer = {"regime": "formula", "variant": "default", "ranked": texts}
        record = {"case": case.to_json(), "tier": 1, "formula": "x", "answers": [answer]}
        write_record(record_path(folder, case.key), record, "x")
    return folder


def test_layout(run, tmp_path):
    out = export_predictions(run, tmp_path / "out")
    split = json.loads((out / "data/synthetic/split.json").read_text())
    assert split == {"test": ["MoS2-1H", "graphene", "h-BN"]}
    predictions = out / "predictions/automat/low"
    assert sorted(p.relative_to(predictions).as_posix() for p in predictions.rglob("*.cif")) == [
        "MoS2-1H_0/rank_1.cif",
        "MoS2-1H_0/rank_2.cif",
        "h-BN_0/rank_1.cif",
        "h-BN_0/rank_2.cif",
    ]
    truth = parsed((out / "data/synthetic/cifs/h-BN.cif").read_text())
    assert truth.composition.reduced_formula == "BN"
    assert np.asarray(Image.open(out / "data/synthetic/images/low/graphene_0.png")).shape == (256, 256)
    lines = (out / "data/synthetic/metadata.jsonl").read_text().splitlines()
    assert {json.loads(line)["sid"] for line in lines} == set(split["test"])


def test_a_run_of_another_suite_has_nothing_to_export(tmp_path):
    places = {"cells": "", "libraries": [], "displaced": None}
    write_plan(tmp_path, Plan("quick", 1, {}, {}, {"identity": "x", "bench": places}))
    with pytest.raises(BenchmarkError, match="quick"):
        export_predictions(tmp_path, tmp_path / "out")


def test_ids_are_file_names():
    assert sid("MXene:Ti/C, O") == "MXene-Ti-C--O"
    assert set(METHODS.values()) == {"automat", "automat-withheld"}


@pytest.mark.skipif(not CHECKOUT, reason="STEM2CRYSTAL_BENCH does not name a checkout of STEM2Crystal-Bench")
def test_the_protocols_own_evaluator_finds_the_same(run, tmp_path):
    out = export_predictions(run, tmp_path / "out")
    samples = []
    for name in NAMES:
        folder = out / "predictions/automat/low" / f"{sid(name)}_0"
        found = [parsed(path.read_text()) for path in sorted(folder.glob("*.cif"))]
        samples.append(score_sample(parsed(truth_cif(MONOLAYERS[name][0])), found))
    ours = aggregate(samples)
    command = [sys.executable, "-W", "ignore", "-m", "stem2crystal.eval.evaluate", "--n-jobs", "1"]
    command += ["--gt", "data/synthetic/cifs", "--split", "data/synthetic/split.json"]
    command += ["--pred", "predictions/automat/low", "--json", "figures.json"]
    environment = {**os.environ, "PYTHONPATH": str(Path(CHECKOUT).resolve())}
    subprocess.run(command, cwd=out, env=environment, check=True, capture_output=True)
    theirs = json.loads((out / "figures.json").read_text())
    for name, value in theirs.items():
        expected = ours[name]
        if isinstance(value, dict):
            assert value == pytest.approx(expected, abs=5e-5)
        elif value is None:
            assert expected is None
        else:
            assert value == pytest.approx(expected, abs=5e-5), name
