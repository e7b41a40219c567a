"""Seconds to relax a structure and to compare it with what was measured: one by one, and in a batch.

    python -m benchmarks.relax_speed [--potential sevennet-0] [--device cpu] [--batch 8]

Structures of 3, 6 and 12 atoms from the embedded library (12: two cells of 6) start 2 % too large, as a measured cell
may be. The same are relaxed one after the other and together. Seconds are per structure, wall clock and processor time
(which other work on the machine does not stretch), and include the comparison of `models.relaxation.moved`.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence

import numpy as np
from pymatgen.core import Lattice, Structure

from library.store import open_libraries
from models.potentials import Potential, load_potential
from models.records import Relaxation
from models.relaxation import relax_batch
from models.relaxation.moved import moved

SIZES = (3, 6, 12)
STRETCH = 1.02
FORM = "{:>5} {:>6} {:>6} {:>12} {:>12} {:>12} {:>12} {:>16}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--potential", default="sevennet-0")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=8, help="structures of each size")
    options = parser.parse_args(arguments)
    potential = load_potential(options.potential, options.device)
    relax_batch(starts(3, 2), potential)  # loads and compiles
    print(f"{potential.name} on {potential.device}; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(
        FORM.format("atoms", "batch", "steps", "single s", "batch s", "single cpu s", "batch cpu s", "worst meV/atom")
    )
    for size in SIZES:
        structures = starts(size, options.batch)
        single, single_time = _timed(lambda several=structures: [_compared([each], potential)[0] for each in several])
        batch, batch_time = _timed(lambda several=structures: _compared(several, potential))
        both = [(a, b) for a, b in zip(single, batch, strict=True) if a is not None and b is not None]
        steps = np.mean([a.steps for a, _ in both])
        apart = 1000 * max(abs(a.energy_per_atom - b.energy_per_atom) for a, b in both)
        seconds = [f"{total[kind] / len(structures):.2f}" for kind in (0, 1) for total in (single_time, batch_time)]
        print(FORM.format(size, len(structures), f"{steps:.1f}", *seconds, f"{apart:.3f}"), flush=True)
    return 0


def starts(size: int, count: int) -> list[Structure]:
    """Evenly chosen templates of `size` atoms, or of half as many in doubled cells, stretched in the plane."""
    library = open_libraries()
    atoms = np.array([len(numbers) for numbers in library.table.column("numbers").to_pylist()])
    double = size not in atoms
    rows = np.flatnonzero(atoms == (size // 2 if double else size))
    chosen = rows[np.linspace(0, len(rows) - 1, count).astype(int)]
    found = [library.template(int(row)).structure for row in chosen]
    if double:
        found = [structure.make_supercell([2, 1, 1], in_place=False) for structure in found]
    return [_stretched(structure) for structure in found]


def _stretched(structure: Structure) -> Structure:
    matrix = structure.lattice.matrix * np.array([STRETCH, STRETCH, 1.0])[:, None]
    return Structure(Lattice(matrix, pbc=(True, True, False)), structure.species, structure.frac_coords)


def _compared(structures: Sequence[Structure], potential: Potential) -> list[Relaxation | None]:
    outcomes = relax_batch(structures, potential)
    found: list[Relaxation | None] = []
    for structure, outcome in zip(structures, outcomes, strict=True):
        relaxation = outcome if isinstance(outcome, Relaxation) else None
        if relaxation is not None:
            moved(structure, relaxation.structure, np.full(len(structure), 0.02), np.array([0.01, 0.01, 0.1]))
        found.append(relaxation)
    return found


def _timed(work: Callable[[], list[Relaxation | None]]) -> tuple[list[Relaxation | None], tuple[float, float]]:
    """What it returns, and its wall-clock and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    done = work()
    return done, (time.perf_counter() - wall, time.process_time() - processor)


if __name__ == "__main__":
    raise SystemExit(main())
