"""Templates as rows of a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Float32
from pymatgen.core import Lattice, Structure

from library.fingerprint import FINGERPRINT_SIZE
from library.patterns import Patterns
from library.records import Template
from microscopy.micrograph import Modality
from microscopy.slab import plane_cell

COLUMNS = pa.schema(
    [
        ("id", pa.string()),
        ("formula", pa.string()),
        ("elements", pa.string()),
        ("stoichiometry", pa.string()),
        ("sites", pa.int32()),
        ("area", pa.float64()),
        ("a", pa.float64()),
        ("b", pa.float64()),
        ("numbers", pa.list_(pa.uint8())),
        ("frac", pa.list_(pa.float64())),
        ("cell", pa.list_(pa.float64(), 9)),
        ("source", pa.string()),
        ("version", pa.string()),
        ("licence", pa.string()),
        ("url", pa.string()),
        ("prototype", pa.string()),
    ]
)
"""One row per template: numbers [N], frac [3 N] and cell [9] row by row; Å and Å²; elements as in ``Mo-S``,
stoichiometry as in ``AB2``."""

PATTERN = "fingerprint-"
"""Before the modality, the name of a column of fingerprints."""


def to_table(templates: Sequence[Template], patterns: dict[Modality, Float32[np.ndarray, "N D"]]) -> pa.Table:
    """Templates and their fingerprints as a table."""
    table = pa.Table.from_pylist([_row(template) for template in templates], schema=COLUMNS)
    return with_patterns(table, {modality: [rows] for modality, rows in patterns.items()})


def with_patterns(table: pa.Table, patterns: dict[Modality, list[Float32[np.ndarray, "n D"]]]) -> pa.Table:
    """Add columns of fingerprints, each given in consecutive pieces, to a table."""
    for modality, pieces in patterns.items():
        chunks = [
            pa.FixedSizeListArray.from_arrays(np.ascontiguousarray(rows, dtype=np.float32).ravel(), FINGERPRINT_SIZE)
            for rows in pieces
        ]
        column = pa.chunked_array(chunks, type=pa.list_(pa.float32(), FINGERPRINT_SIZE))
        table = table.append_column(PATTERN + modality.value, column)
    return table


def modalities_of(table: pa.Table) -> tuple[Modality, ...]:
    """Modalities whose fingerprints a table holds."""
    return tuple(Modality(name.removeprefix(PATTERN)) for name in table.column_names if name.startswith(PATTERN))


def patterns_of(table: pa.Table, modality: Modality) -> Patterns:
    """Fingerprints that a table holds, without copying them."""
    chunks = table.column(PATTERN + modality.value).chunks
    # Not to_numpy(), which imports pandas: a second.
    return Patterns([np.from_dlpack(chunk.flatten()).reshape(-1, FINGERPRINT_SIZE) for chunk in chunks])


def to_template(table: pa.Table, row: int) -> Template:
    """Template of a row."""
    values = {name: table.column(name)[row].as_py() for name in COLUMNS.names}
    lattice = Lattice(np.reshape(values["cell"], (3, 3)), pbc=(True, True, False))
    return Template(
        id=values["id"],
        structure=Structure(lattice, values["numbers"], np.reshape(values["frac"], (-1, 3))),
        formula=values["formula"],
        source=values["source"],
        version=values["version"],
        licence=values["licence"],
        url=values["url"],
        prototype=values["prototype"],
    )


def _row(template: Template) -> dict[str, object]:
    structure = template.structure
    cell = plane_cell(structure)
    a, b = np.linalg.norm(cell, axis=1)
    return {
        "id": template.id,
        "formula": template.formula,
        "elements": "-".join(sorted(structure.symbol_set)),
        "stoichiometry": structure.composition.anonymized_formula,
        "sites": len(structure),
        "area": abs(float(np.linalg.det(cell))),
        "a": float(a),
        "b": float(b),
        "numbers": [site.specie.Z for site in structure],
        "frac": structure.frac_coords.ravel().tolist(),
        "cell": structure.lattice.matrix.ravel().tolist(),
        "source": template.source,
        "version": template.version,
        "licence": template.licence,
        "url": template.url,
        "prototype": template.prototype,
    }
