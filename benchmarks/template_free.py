"""Reconstruct without a template: how often the structure comes out of image and composition alone.

    python -m benchmarks.template_free --db FILE.db --skip IDS.txt --limit 16 --seed 501 --out DIR

Each material is imaged by multislice and built from its columns with its formula given, and with its elements only.
Counted: the projection (``success``) and the heights (``success_3d``) of the first model, and of any of five.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pymatgen.core.structure import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from benchmarks.cases import Case
from benchmarks.evaluate import picture
from benchmarks.materials import Material, draw, load_materials
from benchmarks.metrics import score
from models.potentials import load_potential
from reconstruction.lattice import find_lattice
from reconstruction.measurement import measure
from reconstruction.spectrum import highest_frequency
from reconstruction.template_free import build_free

KEEP = 5


def answers(material: Material, dose: float, seed: int, cells: Path, potential: str | None) -> Iterator[dict[str, Any]]:
    """Build one material with its formula known, and with its elements."""
    image = picture(Case(material.id, (), dose=dose, seed=seed), material, cells).micrograph
    energy = _energy(potential) if potential else None
    for known in ("formula", "elements"):
        given: dict[str, Any] = {"formula": material.formula} if known == "formula" else {"elements": material.elements}
        micrograph = replace(image, metadata={}, **given)
        started = time.perf_counter()
        lattice = find_lattice(micrograph, highest_frequency(micrograph))
        models = [] if lattice is None else build_free(micrograph, measure(micrograph, lattice), KEEP, energy)
        seconds = time.perf_counter() - started
        scores = [score(model.structure, material.structure) for model in models]
        yield {
            "id": material.id,
            "formula": material.formula,
            "natoms": len(material.structure),
            "known": known,
            "answer": models[0].structure.composition.reduced_formula if models else None,
            "correlation": models[0].correlation if models else None,
            "success": [each.success for each in scores],
            "success_3d": [each.success_3d for each in scores],
            "seconds": seconds,
        }


def _energy(name: str) -> Any:
    calculator = load_potential(name).calculator()

    def energy(structure: Structure) -> float:
        atoms = AseAtomsAdaptor.get_atoms(structure)
        atoms.calc = calculator
        return float(atoms.get_potential_energy())

    return energy


def table(lines: list[dict[str, Any]]) -> str:
    """Shares of successes as text."""
    rows = [f"{'known':<10}{'n':>4}{'first':>8}{'of five':>9}{'3D first':>10}{'3D of five':>12}{'s/image':>9}"]
    for known in ("formula", "elements"):
        some = [line for line in lines if line["known"] == known]
        shares = [
            sum(judge(line[key]) for line in some) / max(len(some), 1)
            for key in ("success", "success_3d")
            for judge in (lambda hits: bool(hits[:1] == [True]), any)
        ]
        seconds = sum(line["seconds"] for line in some) / max(len(some), 1)
        first, five, first_3d, five_3d = shares
        rows.append(
            f"{known:<10}{len(some):>4}{first:>8.0%}{five:>9.0%}{first_3d:>10.0%}{five_3d:>12.0%}{seconds:>9.1f}"
        )
    return "\n".join(rows)


def main(arguments: list[str] | None = None) -> int:
    """Build every material of a draw and print the shares."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.template_free", description=__doc__.split("\n")[0])
    parser.add_argument("--db", type=Path, required=True, help="ASE database with the true structures")
    parser.add_argument("--skip", type=Path, help="file of ids to leave out, one a line")
    parser.add_argument("--limit", type=int, default=16)
    parser.add_argument("--seed", type=int, default=501)
    parser.add_argument("--max-atoms", type=int, default=8)
    parser.add_argument("--dose", type=float, default=3e4, help="e/Å²")
    parser.add_argument("--potential", help="choose between heights by the energies of this potential")
    parser.add_argument("--out", type=Path, required=True, help="folder for answers and cached cell images")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    skipped = set(options.skip.read_text().split()) if options.skip else set()
    available = [
        each
        for each in load_materials(options.db)[0]
        if len(each.structure) <= options.max_atoms and each.id not in skipped
    ]
    lines: list[dict[str, Any]] = []
    with (options.out / "template-free.jsonl").open("w") as stream:
        for material in draw(available, options.limit, options.seed):
            for line in answers(material, options.dose, options.seed, options.out, options.potential):
                lines.append(line)
                stream.write(json.dumps(line) + "\n")
                print(json.dumps(line), file=sys.stderr)
    print(table(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
