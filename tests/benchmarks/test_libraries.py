"""Libraries of a benchmark: built once, found again by content, and blind to nothing that is the material."""

import numpy as np
import pytest
from ase.db import connect
from monolayers import MONOLAYERS
from strategies import supercell

from benchmarks.cramer_rao import projected_columns
from benchmarks.libraries import alike, displaced_library, source_library
from benchmarks.materials import Material
from benchmarks.metrics import rmsd_projected
from library.store import open_libraries

NAMES = ("MoS2 1H", "MoS2 1T", "h-BN", "SnS")
MATERIALS = [Material(name, MONOLAYERS[name][0]) for name in NAMES]


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "truth.db"
    with connect(str(path)) as rows:
        for material in MATERIALS:
            rows.write(material.structure.to_ase_atoms(), data={"material_id": material.id})
    return path


def test_a_source_is_built_once_and_again_when_it_changes(database, tmp_path):
    told = []
    (folder,) = source_library(database, tmp_path / "cache", lambda *news: told.append(news))
    assert told
    told.clear()
    assert source_library(database, tmp_path / "cache", lambda *news: told.append(news)) == (folder,)
    assert told == []
    with connect(str(database)) as rows:
        rows.write(MONOLAYERS["graphene"][0].to_ase_atoms(), data={"material_id": "graphene"})
    (other,) = source_library(database, tmp_path / "cache", lambda *news: told.append(news))
    assert other != folder
    assert len(open_libraries([other])) == len(open_libraries([folder])) + 1
    assert source_library(None, tmp_path / "cache", lambda *_: None) == ()


def test_the_material_is_found_however_it_is_described_and_polytypes_are_not(database, tmp_path):
    library = open_libraries(source_library(database, tmp_path / "cache", lambda *_: None))
    described = supercell(MONOLAYERS["MoS2 1H"][0], [[1, 1], [-1, 2]])
    assert alike(described, library) == {"MoS2 1H"}
    assert alike(MONOLAYERS["graphene"][0], library) == set()


def test_displaced_templates_are_off_by_what_is_asked_and_keep_their_columns(tmp_path):
    folder = displaced_library(MATERIALS, 0.05, 3, tmp_path)
    library = open_libraries([folder])
    assert set(library.ids) == set(NAMES)
    squares = []
    for name in NAMES:
        moved = library.template(library.ids.index(name)).structure
        assert projected_columns(moved).max() == projected_columns(MONOLAYERS[name][0]).max()
        squares.append(rmsd_projected(moved, MONOLAYERS[name][0]) ** 2)
    assert np.sqrt(np.mean(squares)) == pytest.approx(0.05, rel=0.6)
    assert displaced_library(MATERIALS, 0.05, 3, tmp_path) == folder
    assert displaced_library(MATERIALS, 0.05, 4, tmp_path) != folder
