"""The images of a suite as files, for people and programs that want to read them themselves."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from benchmarks.evaluate import picture, truth_cif
from benchmarks.pipeline import write_image
from benchmarks.results import Plan
from benchmarks.sweep import bench_of
from library.build import Progress
from microscopy.errors import AutoMatError
from tasks.store import write_atomically

MANIFEST = "manifest.json"


def write_dataset(plan: Plan, folder: Path, progress: Progress) -> Path:
    """Write ``images/KEY.tif`` for every case of a plan, ``truth/ID.cif``, and a manifest; returns the manifest.

    The manifest has, for each image, its conditions, the truth's cell as it appears in the image (rows a, b, Å) and
    the sha256 of the file; an image that cannot be made has the reason instead. The same plan gives the same images.
    """
    for part in ("images", "truth"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for material in plan.materials.values():
        write_atomically(folder / "truth" / f"{material.id}.cif", truth_cif(material.structure).encode())
    entries = []
    for number, case in enumerate(plan.cases.values(), 1):
        progress(f"{case.material}, {case.condition}", number, len(plan.cases))
        entry: dict[str, Any] = {"key": case.key, "case": case.to_json(), "truth": f"truth/{case.material}.cif"}
        path = folder / "images" / f"{case.key}.tif"
        try:
            seen = picture(case, plan.materials[case.material], bench_of(plan).cells)
            write_image(seen.micrograph, case.artefacts.get("quantise", 0), path)
        except AutoMatError as error:
            entry["error"] = str(error)
        else:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            entry |= {"image": f"images/{path.name}", "sha256": digest, "cell": seen.cell.tolist()}
        entries.append(entry)
    content = {"schema": 1, "suite": plan.suite, "seed": plan.seed, "facts": dict(plan.facts), "images": entries}
    write_atomically(folder / MANIFEST, json.dumps(content, indent=1).encode())
    return folder / MANIFEST
