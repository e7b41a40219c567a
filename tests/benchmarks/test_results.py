"""A run's folder: nothing is lost, nothing is taken for what it is not."""

import json

import numpy as np
import pytest
from monolayers import MONOLAYERS

from benchmarks.cases import Case, Question
from benchmarks.materials import BenchmarkError, Material
from benchmarks.results import (
    PLAN,
    Plan,
    by_round,
    energies,
    energy_path,
    pending,
    read_plan,
    record_path,
    records,
    write_plan,
    write_record,
)


def a_plan(identity="code-1"):
    materials = {name: Material(name, MONOLAYERS[name][0], -0.5) for name in ("graphene", "h-BN")}
    cases = [Case("graphene", (Question("I", relax=True),), dose) for dose in (1e3, 1e4)]
    cases += [Case("h-BN", (Question("II"),), dose) for dose in (1e3, 1e4)]
    return Plan("quick", 3, materials, {case.key: case for case in cases}, {"identity": identity})


def test_a_plan_survives_its_file(tmp_path):
    plan = a_plan()
    write_plan(tmp_path, plan)
    again = read_plan(tmp_path)
    assert again.cases == plan.cases
    assert list(again.materials) == list(plan.materials)
    assert np.allclose(again.materials["h-BN"].structure.cart_coords, plan.materials["h-BN"].structure.cart_coords)
    assert again.materials["h-BN"].formation_energy == -0.5
    assert read_plan(tmp_path) is again


@pytest.mark.parametrize("content", ["", "{}", '{"schema": 99}', "[1]"])
def test_a_folder_that_holds_no_run_is_refused_in_one_line(tmp_path, content):
    with pytest.raises(BenchmarkError, match="automat bench run"):
        read_plan(tmp_path)
    (tmp_path / PLAN).write_text(content)
    with pytest.raises(BenchmarkError, match="not the plan"):
        read_plan(tmp_path)


def test_what_is_measured_is_not_pending_unless_the_code_has_changed(tmp_path):
    plan = a_plan()
    first, *rest = plan.cases
    write_record(record_path(tmp_path, first), {"key": first, "rms": np.float64(0.5)}, plan.identity)
    write_record(energy_path(tmp_path, "graphene"), {"formation": 1.0}, plan.identity)
    assert pending(tmp_path, plan) == (rest, [])
    assert records(tmp_path, plan) == [{"key": first, "rms": 0.5, "identity": "code-1"}]
    assert energies(tmp_path, plan)["graphene"]["formation"] == 1.0
    changed = a_plan("code-2")
    assert pending(tmp_path, changed) == ([first, *rest], ["graphene"])
    assert records(tmp_path, changed) == []


def test_a_record_cut_short_is_measured_again(tmp_path):
    plan = a_plan()
    key = next(iter(plan.cases))
    path = record_path(tmp_path, key)
    path.parent.mkdir()
    path.write_text(json.dumps({"key": key, "identity": plan.identity})[:-5])
    assert key in pending(tmp_path, plan)[0]


def test_ids_of_any_spelling_stay_in_the_folder(tmp_path):
    assert energy_path(tmp_path, "../../etc/x y").parent == tmp_path / "energies"


def test_rounds_keep_workers_off_one_material():
    cases = [Case(material, (), dose) for material in "ab" for dose in (1e3, 1e4)]
    assert [(case.material, case.dose) for case in by_round(cases)] == [("a", 1e3), ("b", 1e3), ("a", 1e4), ("b", 1e4)]
