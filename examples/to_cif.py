"""From a micrograph to a CIF, without relaxation: python examples/to_cif.py [IMAGE] [OUTPUT.cif]."""

import sys
from pathlib import Path

import microscopy
from library.store import open_libraries
from microscopy.readers import ReadOptions, read_micrograph
from planning.verify import verify
from reconstruction.cif import structure_cif
from reconstruction.reconstruct import reconstruct
from reconstruction.retrieval import retrieve

DEMO = Path(microscopy.__file__).parent / "data" / "demo.tif"


def main(path: Path = DEMO, output: Path = Path("structure.cif")) -> None:
    """Write the best hypothesis, refined, and print the checks that it was held against."""
    micrograph = read_micrograph(path, ReadOptions(elements=("Se", "Sn") if path == DEMO else None))
    candidates = retrieve(micrograph, open_libraries())
    if not candidates.items:
        raise SystemExit("nothing in the library fits the lattice of the image")
    crystal = reconstruct(micrograph, candidates)
    verdict = verify(micrograph, candidates, crystal, relaxation=None)
    print(f"{crystal.symmetrised.composition.reduced_formula}, layer group {crystal.layer_group_symbol}")
    for check in verdict.checks:
        print(f"{'ok' if check.passed else 'FAILED':7}{check.name:16}{check.value:8.3f}  limit {check.limit:g}")
    output.write_text(structure_cif(crystal.symmetrised, tolerance=crystal.symmetry_tolerance), encoding="ascii")
    print(f"{verdict.status}, confidence {verdict.confidence:.0%}: {output}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
