"""Predictions of a run in the layout that STEM2Crystal-Bench's own evaluator reads.

OUT/data/synthetic/cifs/SID.cif, split.json, metadata.jsonl, images/LEVEL/SID_0.png
OUT/predictions/automat/LEVEL/SID_0/rank_1.cif … rank_5.cif              template in the library
OUT/predictions/automat-withheld/LEVEL/SID_0/rank_1.cif …                template withheld
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from PIL import Image
from pymatgen.core.structure import Structure

from benchmarks.evaluate import picture, truth_cif
from benchmarks.materials import BenchmarkError
from benchmarks.results import read_plan, records
from benchmarks.rows import Row, rows_of
from benchmarks.sweep import bench_of
from tasks.store import write_atomically

METHODS = {"formula": "automat", "formula, withheld": "automat-withheld"}

README = """Scored by STEM2Crystal-Bench's evaluator, from a checkout of its repository:

    python -m stem2crystal.eval.evaluate --gt data/synthetic/cifs --split data/synthetic/split.json \\
        --pred predictions/automat/low --name AutoMat
"""


def export_predictions(folder: Path, out: Path) -> Path:
    """Write the predictions, truths and images of a run of the suite ``stem2crystal``; returns ``out``.

    Raises
    ------
    BenchmarkError
        If the folder holds no run, or one without ranked candidates.
    """
    plan = read_plan(folder)
    rows = [row for row in rows_of(records(folder, plan)) if row.case.export]
    if not rows:
        raise BenchmarkError(f"{folder}: a run of {plan.suite}; only one of stem2crystal keeps ranked candidates")
    data = out / "data" / "synthetic"
    sids = {row.case.material: sid(row.case.material) for row in rows}
    for material, name in sids.items():
        structure = plan.materials[material].structure
        write_atomically(data / "cifs" / f"{name}.cif", truth_cif(structure).encode())
    for row in rows:
        _write_candidates(out, row, sids[row.case.material])
    for case in {row.case.key: row.case for row in rows}.values():
        path = data / "images" / case.noise / f"{sids[case.material]}_0.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = picture(case, plan.materials[case.material], bench_of(plan).cells).micrograph.image
        Image.fromarray(np.round(255 * image).astype(np.uint8)).save(path)
    write_atomically(data / "split.json", json.dumps({"test": sorted(sids.values())}).encode())
    lines = [json.dumps(_metadata(name, plan.materials[material].structure)) for material, name in sids.items()]
    write_atomically(data / "metadata.jsonl", ("\n".join(lines) + "\n").encode())
    write_atomically(out / "README", README.encode())
    return out


def sid(material: str) -> str:
    """Id of a material as a file name."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", material)


def _write_candidates(out: Path, row: Row, name: str) -> None:
    target = out / "predictions" / METHODS[row.regime] / row.case.noise / f"{name}_0"
    target.mkdir(parents=True, exist_ok=True)
    for rank, text in enumerate(row.answer.get("ranked", ()), 1):
        write_atomically(target / f"rank_{rank}.cif", text.encode())


def _metadata(name: str, structure: Structure) -> dict[str, object]:
    return {"sid": name, "formula": structure.composition.reduced_formula, "n_atoms": len(structure)}
