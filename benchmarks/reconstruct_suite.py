"""Simulate real monolayers, reconstruct them, and score what comes back.

    python -m benchmarks.reconstruct_suite --db FILE.db --ids IDS.txt --limit 20 --seed 1 --dose 1e4 --out DIR

The truth is a row of an ASE database. Each image has its own rotation, handedness, origin and noise, all drawn from
the seed and the material's id, so that a longer run repeats a shorter one. One line of JSON per material is
appended to ``OUT/<settings>.jsonl``; a run that is stopped continues where it was. Whatever goes wrong is a failure
of that material, and counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core.structure import Structure

from benchmarks.metrics import score, wilson
from library.store import Library, open_libraries
from microscopy.errors import AutoMatError
from microscopy.micrograph import Micrograph
from microscopy.simulation import SimulationOptions, simulate
from microscopy.slab import slab
from microscopy.structures import load_structure
from microscopy.writers import write_tiff
from reconstruction.reconstruct import reconstruct
from reconstruction.retrieval import RetrievalOptions, retrieve

MAX_ATOMS = 12
CLI_TIMEOUT = 600
"""Seconds for one image on the command line, far beyond what it takes."""


@dataclass(frozen=True)
class Settings:
    """What one run measures; its name is that of the result file."""

    dose: float
    elements: str
    withheld: bool
    chain: str
    seed: int
    shape: tuple[int, int]
    pixel_size: float

    @property
    def regime(self) -> str:
        """I to IV as in the benchmark's table."""
        return ("III" if self.withheld else "I") if self.elements == "given" else ("IV" if self.withheld else "II")

    @property
    def name(self) -> str:
        """File name without suffix."""
        h, w = self.shape
        return f"{self.chain}-{self.regime}-dose{self.dose:g}-{h}x{w}x{self.pixel_size:g}-seed{self.seed}"


def materials(database: Path, ids: frozenset[str] | None, limit: int, seed: int) -> list[tuple[str, Structure]]:
    """Random monolayers of a database, at most 12 atoms, as slabs; the first N of one shuffled order."""
    from ase.db import connect
    from pymatgen.io.ase import AseAtomsAdaptor

    found = []
    for row in connect(str(database)).select():
        name = str(row.data.get("material_id", row.id))
        if row.natoms <= MAX_ATOMS and (ids is None or name in ids):
            found.append((name, row))
    order = np.random.default_rng(seed).permutation(len(found))[:limit]
    return [(found[i][0], slab(AseAtomsAdaptor.get_structure(found[i][1].toatoms()))) for i in order]


def view_of(name: str, settings: Settings) -> SimulationOptions:
    """How a material is imaged: rotation, handedness and noise from the seed and the id alone."""
    seed = zlib.crc32(f"{settings.seed}/{name}".encode())
    rng = np.random.default_rng(seed)
    return SimulationOptions(
        shape=settings.shape,
        pixel_size=(settings.pixel_size, settings.pixel_size),
        dose=settings.dose,
        rotation=float(rng.uniform(0, 360)),
        mirror=bool(rng.random() < 0.5),
        seed=seed,
    )


def run_chain(
    micrograph: Micrograph, library: Library, exclude: tuple[str, ...], timings: dict[str, float]
) -> dict[str, Any]:
    """Retrieve and reconstruct in this process."""
    start = time.perf_counter()
    candidates = retrieve(micrograph, library, RetrievalOptions(exclude=exclude))
    timings["retrieve"] = time.perf_counter() - start
    start = time.perf_counter()
    reconstruction = reconstruct(micrograph, candidates)
    timings["reconstruct"] = time.perf_counter() - start
    return {
        "prediction": reconstruction.symmetrised,
        "template": reconstruction.candidate.template,
        "confidence": reconstruction.candidate.probability,
        "margin": candidates.margin,
        "alternatives": [{"template": item.template, "structure": item.structure} for item in candidates.items[1:]],
    }


def run_cli(
    micrograph: Micrograph, folder: Path, libraries: list[Path], exclude: tuple[str, ...], timings: dict[str, float]
) -> dict[str, Any]:
    """Reconstruct with the installed command, from a file, without relaxation."""
    image = folder / "image.tif"
    folder.mkdir(parents=True, exist_ok=True)
    assert micrograph.pixel_size is not None
    write_tiff(image, micrograph.image, micrograph.pixel_size, {})
    command = [str(Path(sys.executable).parent / "automat"), "reconstruct", str(image), "--json", "--no-relax"]
    command += ["--out", str(folder), "--dose", f"{micrograph.dose:g}"]
    command += ["--elements", ",".join(micrograph.elements)] if micrograph.elements else []
    for path in libraries:
        command += ["--library", str(path)]
    for name in exclude:
        command += ["--exclude", name]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, timeout=CLI_TIMEOUT, check=False)
    timings["command"] = time.perf_counter() - start
    lines = done.stdout.strip().splitlines()
    if not lines:
        raise AutoMatError(f"exit {done.returncode}: {done.stderr.strip()[-300:]}")
    result = json.loads(done.stdout)
    if result["status"] == "failed":
        raise AutoMatError(f"{result['error']['stage']}: {result['error']['message']}")
    run = folder / f"{image.stem}-{result['image']['sha256'][:8]}"
    return {
        "prediction": load_structure(run / result["structure"]["cif"]),
        "template": result["structure"]["template"],
        "confidence": result["confidence"],
        "status": result["status"],
    }


def evaluate(
    name: str, truth: Structure, settings: Settings, libraries: list[Path], library: Library | None, work: Path
) -> dict[str, Any]:
    """One material: image, answer, score. Any failure is recorded, none is raised."""
    timings: dict[str, float] = {}
    record: dict[str, Any] = {
        "id": name,
        "formula": truth.composition.reduced_formula,
        "natoms": len(truth),
        "settings": asdict(settings),
        "timings_s": timings,
        "score": {},
    }
    try:
        start = time.perf_counter()
        micrograph = simulate(truth, view_of(name, settings), work / "cells").micrograph
        timings["simulate"] = time.perf_counter() - start
        known = tuple(sorted({site.specie.symbol for site in truth})) if settings.elements == "given" else None
        micrograph = replace(micrograph, elements=known, formula=None, metadata={})
        exclude = (name,) if settings.withheld else ()
        if library is None:
            answer = run_cli(micrograph, work / "cli" / settings.name / name, libraries, exclude, timings)
        else:
            answer = run_chain(micrograph, library, exclude, timings)
        prediction = answer.pop("prediction")
        alternatives = answer.pop("alternatives", [])
        record.update(answer, predicted=prediction.composition.reduced_formula)
        record["score"] = asdict(score(prediction, truth))
        record["hit"] = 1 if record["score"]["success"] else _first_hit(alternatives, truth)
    except Exception as error:  # a benchmark counts every failure, whatever it is
        record["error"] = f"{type(error).__name__}: {error}"
    return record


def _first_hit(alternatives: list[dict[str, Any]], truth: Structure) -> int | None:
    """Rank of the first candidate, unrefined, that is the truth; None when none is."""
    for rank, item in enumerate(alternatives, 2):
        if score(item["structure"], truth).success:
            return rank
    return None


def table(records: list[dict[str, Any]]) -> str:
    """Markdown table of one run; every rate is over all materials, every mean says over how many."""
    n = len(records)
    rates = {
        "success": [bool(r["score"].get("success")) for r in records],
        "success 3D": [bool(r["score"].get("success_3d")) for r in records],
        "formula right": [bool(r["score"].get("formula")) for r in records],
        "right among the first five": [r.get("hit") is not None and r["hit"] <= 5 for r in records],
        "answered": ["error" not in r for r in records],
    }
    lines = ["| measure | value | materials |", "|---|---|---|"]
    for label, outcomes in rates.items():
        low, high = wilson(sum(outcomes), n)
        rate = sum(outcomes) / n if n else 0.0
        lines.append(f"| {label} | {rate:.1%} (95 %: {low:.1%} to {high:.1%}) | {sum(outcomes)} of {n} |")
    medians = {
        "median RMSD, Å": [
            r["score"]["rmsd_projected"] for r in records if r["score"].get("rmsd_projected") is not None
        ],
        "median lattice error": [r["score"]["lattice"]["length"] for r in records if r["score"]],
        "median angle error, degrees": [r["score"]["lattice"]["angle"] for r in records if r["score"]],
    }
    for stage in ("simulate", "retrieve", "reconstruct", "command"):
        medians[f"median {stage}, s"] = [r["timings_s"][stage] for r in records if stage in r["timings_s"]]
    for label, values in medians.items():
        if values:
            lines.append(f"| {label} | {statistics.median(values):.4g} | {len(values)} of {n} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the suite; the table goes to stdout and ``OUT/<settings>.md``, progress to stderr."""
    options = _parser().parse_args(arguments)
    settings = Settings(
        dose=options.dose,
        elements=options.elements,
        withheld=options.withhold,
        chain="cli" if options.cli else "chain",
        seed=options.seed,
        shape=tuple(options.shape),
        pixel_size=options.pixel_size,
    )
    ids = frozenset(options.ids.read_text().split()) if options.ids else None
    truths = materials(options.db, ids, options.limit, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    results = options.out / f"{settings.name}.jsonl"
    done = _finished(results)
    library = None if options.cli else open_libraries(options.library or None)
    with results.open("a") as stream:
        for number, (name, truth) in enumerate(truths, 1):
            if name not in done:
                done[name] = evaluate(name, truth, settings, options.library, library, options.out)
                stream.write(json.dumps(done[name], default=float) + "\n")
                stream.flush()
            print(f"{number}/{len(truths)} {_line(done[name])}", file=sys.stderr, flush=True)
    text = f"Regime {settings.regime}, {settings.name}\n\n{table([done[name] for name, _ in truths])}\n"
    results.with_suffix(".md").write_text(text)
    print(text)
    return 0


def _finished(results: Path) -> dict[str, dict[str, Any]]:
    """Read the records of an earlier run; a line cut short by its end is computed again."""
    done: dict[str, dict[str, Any]] = {}
    text = results.read_text() if results.exists() else ""
    if text and not text.endswith("\n"):
        with results.open("a") as stream:
            stream.write("\n")
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        done[record["id"]] = record
    return done


def _line(record: Mapping[str, Any]) -> str:
    if "error" in record:
        return f"{record['id']} {record['formula']}: {record['error']}"
    rmsd = record["score"]["rmsd_projected"]
    outcome = "right" if record["score"]["success"] else "WRONG"
    rank = "" if record["hit"] in (1, None) else f", right at rank {record['hit']}"
    return (
        f"{record['id']} {record['formula']}: {outcome}, {record['predicted']} from {record['template']}, "
        f"RMSD {'none' if rmsd is None else f'{rmsd:.3f} Å'}{rank}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reconstruct_suite", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--db", type=Path, required=True, help="ASE database of monolayers: the truth")
    parser.add_argument("--ids", type=Path, help="file of material ids, one a line, to choose from")
    parser.add_argument("--limit", type=int, default=20, help="how many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dose", type=float, default=1e4, help="e/Å²")
    parser.add_argument("--shape", type=int, nargs=2, default=(512, 512), metavar=("H", "W"), help="pixels")
    parser.add_argument("--pixel-size", type=float, default=0.1, help="Å")
    parser.add_argument("--elements", choices=("given", "unknown"), default="given")
    parser.add_argument("--withhold", action="store_true", help="leave the material out of the library")
    parser.add_argument("--library", type=Path, action="append", default=[], help="library folder; repeatable")
    parser.add_argument("--cli", action="store_true", help="run the automat command instead of its science in-process")
    parser.add_argument("--out", type=Path, required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())
