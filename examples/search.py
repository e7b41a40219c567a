"""Rank the templates of a library by how well they explain a micrograph: python examples/search.py [IMAGE] [FOLDER]."""

import sys
from pathlib import Path

import microscopy
from library.store import open_libraries
from microscopy.readers import ReadOptions, read_micrograph
from reconstruction.retrieval import RetrievalOptions, retrieve

DEMO = Path(microscopy.__file__).parent / "data" / "demo.tif"


def main(path: Path = DEMO, folder: Path | None = None) -> None:
    """Print the five most probable templates among those of all elements."""
    library = open_libraries([folder] if folder else None)  # the embedded library by default
    micrograph = read_micrograph(path, ReadOptions())  # ReadOptions(elements=("Se", "Sn")) searches among these alone
    found = retrieve(micrograph, library, RetrievalOptions(keep=5))
    print(f"{found.searched} of {len(library)} templates were compared")
    for candidate in found.items:
        formula = candidate.structure.composition.reduced_formula
        print(f"{candidate.probability:6.1%}  {formula:8} {candidate.template:16} fit {candidate.correlation:.3f}")
    print(f"log odds of the first over the next different structure: {found.margin:.1f}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
