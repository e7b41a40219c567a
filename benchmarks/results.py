"""The folder of a benchmark run: what was asked for, and one file for each image that has been measured.

    DIR/plan.json           materials and cases; digests of everything the results depend on
    DIR/results/KEY.json    the record of one case
    DIR/energies/ID.json    the potential's energy of one true structure
    DIR/peers/              images, and what other tools made of them

Every file appears complete or not at all, so a run that is killed loses the images it was working on and no other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pymatgen.core.structure import Structure

from benchmarks.cases import Case, case_from_json
from benchmarks.materials import BenchmarkError, Material
from tasks.store import write_atomically

PLAN = "plan.json"
SCHEMA = 1


@dataclass(frozen=True, eq=False)
class Plan:
    """What a run measures.

    Attributes
    ----------
    suite, seed
        What was asked for.
    materials, cases
        By id, and by key in the order in which they are measured.
    facts
        Source, digests, versions, command and libraries, JSON-compatible.
    """

    suite: str
    seed: int
    materials: Mapping[str, Material]
    cases: Mapping[str, Case]
    facts: Mapping[str, Any]

    @property
    def identity(self) -> str:
        """Digest of the code and libraries that results depend on besides their case."""
        return str(self.facts["identity"])


def write_plan(folder: Path, plan: Plan) -> None:
    """Write ``plan.json``; the folder is made when missing."""
    content = {
        "schema": SCHEMA,
        "suite": plan.suite,
        "seed": plan.seed,
        "facts": dict(plan.facts),
        "materials": [
            {"id": m.id, "formation_energy": m.formation_energy, "structure": json.loads(m.structure.to_json())}
            for m in plan.materials.values()
        ],
        "cases": [case.to_json() for case in plan.cases.values()],
    }
    write_atomically(folder / PLAN, json.dumps(content, indent=1).encode())


def read_plan(folder: Path) -> Plan:
    """Read ``plan.json``; a worker that asks again gets the same object.

    Raises
    ------
    BenchmarkError
        If the folder holds no run.
    """
    path = folder / PLAN
    try:
        return _plan(path, path.stat().st_mtime_ns)
    except FileNotFoundError as error:
        raise BenchmarkError(f"{folder}: no benchmark run here; make one with 'automat bench run'") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"{path}: not the plan of a benchmark run ({error}); use another folder") from error


@lru_cache(maxsize=2)
def _plan(path: Path, _modified: int) -> Plan:
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["schema"] != SCHEMA:
        raise ValueError(f"schema {content['schema']}, this version reads {SCHEMA}")
    materials = [
        Material(each["id"], Structure.from_dict(each["structure"]), each["formation_energy"])
        for each in content["materials"]
    ]
    cases = [case_from_json(each) for each in content["cases"]]
    return Plan(
        content["suite"],
        content["seed"],
        {material.id: material for material in materials},
        {case.key: case for case in cases},
        content["facts"],
    )


def record_path(folder: Path, key: str) -> Path:
    """File of one case."""
    return folder / "results" / f"{key}.json"


def energy_path(folder: Path, material: str) -> Path:
    """File of the energy of one true structure."""
    return folder / "energies" / f"{re.sub(r'[^A-Za-z0-9._-]', '_', material)}.json"


def write_record(path: Path, record: Mapping[str, Any], identity: str) -> None:
    """Write a record with the identity of what made it."""
    write_atomically(path, json.dumps({**record, "identity": identity}, default=_plain).encode())


def read_record(path: Path, identity: str) -> dict[str, Any] | None:
    """A record, or None when there is none or it was made by other code or with another library."""
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("identity") == identity else None


def records(folder: Path, plan: Plan) -> list[dict[str, Any]]:
    """Records of all cases that have been measured, in the order of the plan."""
    found = (read_record(record_path(folder, key), plan.identity) for key in plan.cases)
    return [record for record in found if record is not None]


def energies(folder: Path, plan: Plan) -> dict[str, dict[str, Any]]:
    """Energies of the true structures by material."""
    found = {id: read_record(energy_path(folder, id), plan.identity) for id in plan.materials}
    return {id: record for id, record in found.items() if record is not None}


def pending(folder: Path, plan: Plan) -> tuple[list[str], list[str]]:
    """Keys of cases and ids of materials (for their energies) that remain to be done."""
    keys = [key for key in plan.cases if read_record(record_path(folder, key), plan.identity) is None]
    relaxed = {case.material for case in plan.cases.values() if any(q.relax for q in case.questions)}
    ids = [id for id in plan.materials if id in relaxed and read_record(energy_path(folder, id), plan.identity) is None]
    return keys, ids


def by_round(cases: Sequence[Case]) -> list[Case]:
    """The first case of every material, then every second one…: no two workers simulate one cell at the same time."""
    turn: dict[str, int] = {}
    order = []
    for position, case in enumerate(cases):
        turn[case.material] = turn.get(case.material, -1) + 1
        order.append((turn[case.material], position))
    return [cases[position] for _, position in sorted(order)]


def _plain(value: Any) -> Any:
    """JSON form of numpy scalars and arrays."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} in a record")
