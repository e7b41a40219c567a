"""What a correct structure moves when it is relaxed: the floors of ``models.relaxation.moved``.

    python -m benchmarks.relax_floor DATABASE [--every 20]

Relaxes every n-th monolayer of an ASE database of DFT structures (2DMatPedia: optB88) with at most 12 atoms, and prints
the distribution of free in-plane coordinates (Å) and free strain components. Layers that are not held together by
bonds (molecules side by side, whose places the potential does not know) and relaxations that do not converge are left
out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase.db import connect
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from library.geometry import bond_network
from microscopy.errors import AutoMatError
from microscopy.slab import slab
from models.potentials import load_potential
from models.records import Relaxation
from models.relaxation import relax_batch
from models.relaxation.moved import moved

MAX_ATOMS = 12


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database", type=Path)
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    options = parser.parse_args(arguments)
    structures = _structures(options.database, options.first, options.every)
    outcomes = relax_batch(structures, load_potential("sevennet-0"))
    coordinates, strains, count = [], [], 0
    for structure, outcome in zip(structures, outcomes, strict=True):
        if isinstance(outcome, Relaxation) and outcome.converged:
            found = moved(structure, outcome.structure, np.zeros(len(structure)), np.zeros(3))
            coordinates.append(found.coordinates)
            strains.append(found.strains)
            count += 1
    print(f"{count} of {len(structures)} relaxed")
    for name, values in (("free coordinates, Å", coordinates), ("free strains", strains)):
        size = np.abs(np.concatenate(values))
        quantiles = ", ".join(f"{q} %: {np.percentile(size, q):.4f}" for q in (50, 68, 90, 95))
        print(f"{name}: {len(size)} values, rms {np.sqrt((size**2).mean()):.4f}, {quantiles}")
    return 0


def _structures(database: Path, first: int, every: int) -> list[Structure]:
    found = []
    with connect(database) as rows:
        for number, row in enumerate(rows.select()):
            if number % every == first and row.natoms <= MAX_ATOMS:
                try:
                    structure = slab(AseAtomsAdaptor.get_structure(row.toatoms()))
                except AutoMatError:
                    continue
                if bond_network(structure).ranks == (2,):
                    found.append(structure)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
