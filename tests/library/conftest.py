"""Small monolayers of known geometry."""

from __future__ import annotations

import pytest
from library_folders import write_library
from pymatgen.core import Lattice, Structure

from library.records import Template
from library.store import unique_ids
from microscopy.slab import slab


def layer(
    a: float, b: float, gamma: float, sites: list[tuple[str, float, float, float]], depth: float = 22.0
) -> Structure:
    """Slab from (symbol, x, y fractional, z in Å)."""
    lattice = Lattice.from_parameters(a, b, depth, 90, 90, gamma, vesta=True)
    return slab(Structure(lattice, [s for s, *_ in sites], [[x, y, z / depth + 0.5] for _, x, y, z in sites]))


@pytest.fixture(scope="session")
def mos2() -> Structure:
    return layer(3.16, 3.16, 120, [("Mo", 1 / 3, 2 / 3, 0), ("S", 2 / 3, 1 / 3, 1.56), ("S", 2 / 3, 1 / 3, -1.56)])


@pytest.fixture(scope="session")
def sns() -> Structure:
    return layer(
        4.30,
        4.07,
        90,
        [("Sn", 0.12, 0.25, -1.46), ("S", 0.52, 0.75, -1.13), ("Sn", 0.62, 0.75, 1.46), ("S", 0.02, 0.25, 1.13)],
    )


@pytest.fixture(scope="session")
def templates(mos2: Structure, sns: Structure) -> list[Template]:
    mose2 = mos2.copy()
    mose2.replace_species({"S": "Se"})
    graphene = layer(2.46, 2.46, 120, [("C", 1 / 3, 2 / 3, 0), ("C", 2 / 3, 1 / 3, 0)])
    structures = [mos2, sns, mose2, graphene]
    ids = unique_ids(["a", "b", "c", "d"], ["test"] * 4)
    return [
        Template(id, s, s.composition.reduced_formula, "test", "CC0-1.0", f"https://example.org/{id}", "1H")
        for id, s in zip(ids, structures, strict=True)
    ]


@pytest.fixture
def folder(tmp_path, templates):
    write_library(tmp_path / "lib", templates, aliases=[(0, "alias")])
    return tmp_path / "lib"


@pytest.fixture
def indexed_folder(tmp_path, templates):
    write_library(tmp_path / "indexed", templates, indexed=3)
    return tmp_path / "indexed"
