"""Small libraries on disk, and entries to make more of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pymatgen.core import Lattice, Structure

from library.fingerprint import fingerprints
from library.folder import ALIASES
from library.index import CellIndex
from library.patterns import Patterns
from library.records import Template
from library.sources import Entry
from library.table import to_table
from library.writing import commit, locked, write_index, write_part
from microscopy.micrograph import Modality
from microscopy.slab import slab


def write_library(
    path: Path,
    templates: Sequence[Template],
    modalities: Sequence[Modality] = (Modality.IDPC,),
    aliases: Sequence[tuple[int, str]] = (),
    indexed: int = 0,
) -> dict:
    """Write templates as a library of one part; aliases are (row, id), and the first rows may have an index."""
    patterns = {modality: fingerprints([each.structure for each in templates], modality) for modality in modalities}
    rows, ids = zip(*aliases, strict=True) if aliases else ((), ())
    with locked(path):
        part = write_part(path, [to_table(templates, patterns)], pa.table({"row": rows, "id": ids}, schema=ALIASES))
        indices = {}
        if indexed:
            index = CellIndex.train(Patterns([patterns[Modality.IDPC][:indexed]]))
            indices = {Modality.IDPC.value: write_index(path, index)}
        return commit(path, [part], indices, {"command": "test"})


def entries(count: int, begin: int = 0, source: str = "test") -> list[Entry]:
    """Distinct honeycombs of two elements, each a percent larger than the one before."""
    found = []
    for number in range(begin, begin + count):
        a = 2.4 * 1.01**number
        lattice = Lattice.from_parameters(a, a, 20, 90, 90, 120, vesta=True)
        sites = np.array([[1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]])
        found.append(Entry(f"{source}-{number}", slab(Structure(lattice, ["B", "N"], sites)), source))
    return found
