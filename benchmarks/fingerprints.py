"""The fingerprint: how fast templates are made, and how near the linear model's is to that of a multislice image.

    python -m benchmarks.fingerprints --rate [--db FILE.db]
    python -m benchmarks.fingerprints --multislice CELLS

CELLS is a folder that keeps multislice results.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pymatgen.core import Structure

from library.build import collect
from library.fingerprint import fingerprint, fingerprints
from library.sources import read_source
from library.store import Library, open_libraries
from microscopy.micrograph import Modality
from microscopy.optics import Optics
from microscopy.simulation import simulate
from microscopy.simulation_records import SimulationOptions
from reconstruction.measurement import measure
from reconstruction.query import image_fingerprint
from reconstruction.records import ImageLattice

MATERIALS = (
    "graphene:C", "h-BN:B-N", "phosphorene:P", "1H-MX2:Mo-S", "1H-MX2:W-Se", "1T-MX2:Pt-Te", "SnS:Sn-Se", "CrI3:Cr-I",
    "MoSi2N4:Mo-Si-N", "Fe3GeTe2:Fe-Ge-Te", "Bi2Se3:Bi-Te-Te", "MnBi2Te4:Mn-Bi-Te",
)  # fmt: skip
"""Templates of the embedded library from light to heavy and from one atom thick to seven."""

MODALITIES = (Modality.IDPC, Modality.HAADF)

THERMAL_MOTION = {Modality.IDPC: 0.0, Modality.HAADF: 0.08}
"""Å rms per axis in the multislice image: the linear model of HAADF includes thermal motion, that of iDPC does not."""


@dataclass(frozen=True)
class Agreement:
    """A template and its multislice image.

    Attributes
    ----------
    id
        Of the template.
    heaviest, thickness
        Largest atomic number, and Å between the outermost nuclei.
    cosine
        Dot product of the linear model's fingerprint with that of the image.
    rank
        Place, from 1, of the template in the library when it is asked with the image's fingerprint.
    """

    id: str
    heaviest: int
    thickness: float
    cosine: float
    rank: int


def rate(structures: Sequence[Structure], modality: Modality) -> float:
    """Fingerprints per second of processor time."""
    fingerprints(structures[:1], modality)  # tables are read once
    began = time.process_time()
    fingerprints(structures, modality)
    return len(structures) / (time.process_time() - began)


def multislice_fingerprint(structure: Structure, modality: Modality, cells: Path | None = None) -> np.ndarray:
    """Fingerprint of a noise-free multislice image of a layer, measured as that of a micrograph is."""
    options = SimulationOptions(optics=Optics(modality), rotation=17.0, thermal_sigma=THERMAL_MOTION[modality])
    simulation = simulate(structure, options, cells)
    lattice = ImageLattice(simulation.truth.cell, np.zeros((2, 2)), 100.0, 100)
    return image_fingerprint(measure(simulation.micrograph, lattice))


def agreement(library: Library, id: str, modality: Modality, cells: Path | None = None) -> Agreement:
    """Compare one template of a library with its multislice image."""
    row = library.ids.index(id)
    structure = library.template(row).structure
    seen = multislice_fingerprint(structure, modality, cells)
    scores = library.fingerprints(modality) @ seen
    return Agreement(
        id,
        max(site.specie.Z for site in structure),
        float(np.ptp(structure.cart_coords[:, 2])),
        float(fingerprint(structure, Optics(modality)) @ seen),
        int((scores > scores[row]).sum()) + 1,
    )


def rate_table(database: Path | None) -> Iterator[str]:
    """Markdown: templates per second on one core."""
    yield "| templates | " + " | ".join(f"{modality.value} per s" for modality in MODALITIES) + " |"
    yield "|---|" + "---|" * len(MODALITIES)
    library = open_libraries(None)
    sets = {"embedded library": [library.template(row).structure for row in range(len(library))]}
    if database is not None:
        sets[database.name] = [template.structure for template in collect(read_source(database)).templates]
    for name, structures in sets.items():
        sites = np.mean([len(structure) for structure in structures])
        rates = " | ".join(f"{rate(structures, modality):.0f}" for modality in MODALITIES)
        yield f"| {name}: {len(structures)}, {sites:.1f} atoms each | {rates} |"


def multislice_table(cells: Path) -> Iterator[str]:
    """Markdown: cosine and rank of each material in each modality."""
    library = open_libraries(None)
    names = " | ".join(f"{modality.value}: cosine | rank" for modality in MODALITIES)
    yield f"| template | heaviest Z | thickness (Å) | {names} |"
    yield "|---|---|---|" + "---|---|" * len(MODALITIES)
    for id in MATERIALS:
        found = [agreement(library, id, modality, cells) for modality in MODALITIES]
        values = " | ".join(f"{each.cosine:.4f} | {each.rank}" for each in found)
        yield f"| {id} | {found[0].heaviest} | {found[0].thickness:.1f} | {values} |"


def main(arguments: list[str] | None = None) -> int:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fingerprints", description=main.__doc__)
    parser.add_argument("--rate", action="store_true", help="templates per second")
    parser.add_argument("--db", type=Path, help="also time the templates of this source")
    parser.add_argument("--multislice", type=Path, metavar="CELLS", help="compare with multislice images")
    options = parser.parse_args(arguments)
    if options.rate:
        for line in rate_table(options.db):
            print(line, flush=True)
    if options.multislice is not None:
        for line in multislice_table(options.multislice):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
