"""What several starts for the heights are worth: known layers flattened, relaxed again, and compared.

    python -m benchmarks.relax_heights [--every 1] [--only silicene:Si ...]

The first embedded template of each prototype is relaxed as it is. Then its heights are set to zero and it is relaxed
with ``heights="tried"`` and, to compare, ``"kept"``. Columns: starts tried, the energy of both above that of the
template's own relaxation in meV/atom, the start chosen, and seconds. Below: on how many the energy comes back.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence

import numpy as np
from pymatgen.core import Structure

from benchmarks.tables import rate
from library.records import Template
from library.store import open_libraries
from microscopy.errors import PotentialError
from models.potentials import Potential, load_potential
from models.records import Relaxation
from models.relaxation import RelaxOptions, relax_in_plane

RECOVERED = 5.0
"""meV/atom above the template's own relaxation within which its heights were found again."""

FORM = "{:28} {:>5} {:>6} {:>8} {:>8}  {:24} {:>6}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="take every n-th prototype")
    parser.add_argument("--only", nargs="*", help="ids of templates instead")
    options = parser.parse_args(arguments)
    potential = load_potential("sevennet-0")
    print(FORM.format("template", "atoms", "starts", "tried", "kept", "chosen", "s"))
    tried, kept = [], []
    for template in _templates(options.only, options.every):
        reference = _energy(relax_in_plane(template.structure, potential))
        flat = flattened(template.structure)
        begun = time.perf_counter()
        found = _relaxed(flat, potential, RelaxOptions(heights="tried"))
        seconds = time.perf_counter() - begun
        tried.append(_energy(found) - reference)
        kept.append(_energy(_relaxed(flat, potential, RelaxOptions())) - reference)
        starts, chosen = (found.starts, found.chosen) if found else (0, "none")
        numbers = (f"{tried[-1]:.1f}", f"{kept[-1]:.1f}")
        print(FORM.format(template.id, len(flat), starts, *numbers, chosen, f"{seconds:.1f}"), flush=True)
    for name, above in (("tried", tried), ("kept", kept)):
        print(f"{name}: within {RECOVERED:g} meV/atom on {rate([bool(value < RECOVERED) for value in above])}")
    return 0


def flattened(structure: Structure) -> Structure:
    """The projection: every site at the height of the middle."""
    frac = structure.frac_coords.copy()
    frac[:, 2] = 0.5
    return Structure(structure.lattice, structure.species, frac)


def _templates(only: Sequence[str] | None, every: int) -> Iterator[Template]:
    library = open_libraries()
    if only:
        yield from (library.template(library.ids.index(name)) for name in only)
        return
    prototypes = library.table.column("prototype").to_pylist()
    _, first = np.unique(prototypes, return_index=True)
    yield from (library.template(int(row)) for row in first[::every])


def _relaxed(structure: Structure, potential: Potential, options: RelaxOptions) -> Relaxation | None:
    try:
        return relax_in_plane(structure, potential, options)
    except PotentialError:
        return None


def _energy(relaxation: Relaxation | None) -> float:
    """meV/atom; infinite when there is none."""
    return np.inf if relaxation is None else 1000 * relaxation.energy_per_atom


if __name__ == "__main__":
    raise SystemExit(main())
