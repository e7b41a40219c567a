"""Formation energies of true structures against DFT: what no reconstruction can be expected to better.

    python -m benchmarks.energy_floor --db FILE.db [--ids IDS.txt] [--limit 60] [--seed 7] [--potential NAME]...

Needs no images, so that potentials can be compared in minutes. *Unrelaxed* is the energy at the geometry of the
database, *relaxed* that after relaxation in the plane, which is what a run reports.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.materials import Material, draw, load_materials
from benchmarks.tables import Table
from microscopy.errors import PotentialError
from models.formation import relax
from models.potentials import load_potential

POTENTIALS = ("sevennet-0", "sevennet-l3i5")


def errors(materials: Sequence[Material], potential: str) -> list[tuple[float, float]]:
    """Errors in meV/atom, unrelaxed and relaxed, of the materials that have both energies."""
    found = []
    for material in materials:
        try:
            relaxed = relax(material.structure, load_potential(potential))
        except PotentialError as error:
            print(f"{material.id} {material.formula}: {error}", file=sys.stderr)
            continue
        if relaxed.formation_energy_per_atom is None or material.formation_energy is None:
            continue
        error = relaxed.formation_energy_per_atom - material.formation_energy
        gained = relaxed.energy_per_atom - relaxed.initial_energy_per_atom
        found.append((1000 * (error - gained), 1000 * error))
    return found


def row(potential: str, found: Sequence[tuple[float, float]], seconds: float) -> tuple[str, ...]:
    """Mean absolute and median errors, and seconds of processor time a structure."""
    cells = [potential, str(len(found))]
    for values in zip(*found, strict=True):
        sizes = [abs(value) for value in values]
        cells.append(f"{statistics.fmean(sizes):.1f} / {statistics.median(sizes):.1f}")
    return (*cells, f"{seconds / len(found):.1f}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Relax the materials of a draw with each potential and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.energy_floor", description=__doc__.split("\n")[0])
    parser.add_argument("--db", type=Path, required=True, help="ASE database with the true structures and energies")
    parser.add_argument("--ids", type=Path, help="file of ids to draw from, one a line")
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--max-atoms", type=int, default=12)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--potential", action="append", help=f"repeatable; {' and '.join(POTENTIALS)} if none")
    options = parser.parse_args(arguments)
    ids = options.ids.read_text(encoding="utf-8").split() if options.ids else None
    known = [each for each in load_materials(options.db, ids)[0] if each.formation_energy is not None]
    chosen = draw([each for each in known if len(each.structure) <= options.max_atoms], options.limit, options.seed)
    rows = []
    for potential in options.potential or POTENTIALS:
        begun = time.process_time()
        found = errors(chosen, potential)
        rows.append(row(potential, found, time.process_time() - begun))
    columns = ("potential", "entries", "unrelaxed, MAE / median", "relaxed, MAE / median", "s of processor")
    print(Table("Energy floor", columns, tuple(rows)).markdown())
    return 0


if __name__ == "__main__":
    sys.exit(main())
