"""The truth comes from any source, unchanged, and a longer draw repeats a shorter one."""

import pytest
from ase.db import connect
from monolayers import MONOLAYERS
from pymatgen.io.cif import CifWriter

from benchmarks.materials import BenchmarkError, Material, draw, load_materials, tier
from benchmarks.metrics import score
from models.elements import ground_state


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "truth.db"
    with connect(str(path)) as rows:
        for name, (structure, _) in MONOLAYERS.items():
            rows.write(structure.to_ase_atoms(), data={"material_id": name, "energy_per_atom": -9.0})
    return path


def test_a_database_gives_its_structures_ids_and_energies(database):
    found, refused = load_materials(database)
    assert refused == {}
    assert [material.id for material in found] == list(MONOLAYERS)
    assert all(score(material.structure, MONOLAYERS[material.id][0]).success for material in found)
    graphene = next(material for material in found if material.id == "graphene")
    assert graphene.formation_energy == pytest.approx(-9.0 - ground_state("C")[1])


def test_ids_choose_and_missing_ones_are_told(database):
    found, refused = load_materials(database, ["h-BN", "no such"])
    assert [material.id for material in found] == ["h-BN"]
    assert refused == {"no such": "not in the source"}


def test_a_folder_of_cif_files_will_do_and_a_broken_one_is_told(tmp_path):
    for name in ("graphene", "h-BN"):
        (tmp_path / f"{name}.cif").write_text(str(CifWriter(MONOLAYERS[name][0])))
    (tmp_path / "broken.cif").write_text("data_\nloop_\n")
    found, refused = load_materials(tmp_path)
    assert [material.id for material in found] == ["graphene", "h-BN"]
    assert all(material.formation_energy is None for material in found)
    assert list(refused) == ["broken"]


def test_the_embedded_library_needs_no_file():
    found, _ = load_materials(None)
    assert len(found) > 1000


def test_nothing_usable_is_an_error_of_one_line(tmp_path):
    with pytest.raises(BenchmarkError, match="no such file"):
        load_materials(tmp_path / "none.db")


def test_a_longer_draw_repeats_a_shorter_one(database):
    found, _ = load_materials(database)
    short, long = draw(found, 3, seed=7), draw(found, 6, seed=7)
    assert [m.id for m in short] == [m.id for m in long][:3]
    assert [m.id for m in long] != [m.id for m in draw(found, 6, seed=8)]
    assert len(draw(found, None, seed=7)) == len(found)


def test_tiers_grow_harder_with_less_dose_and_more_elements():
    simple = Material("x", MONOLAYERS["graphene"][0])
    janus = Material("y", MONOLAYERS["MoSSe"][0])
    assert [tier(simple, dose) for dose in (6e4, 1e4, 1e3)] == [1, 2, 3]
    assert [tier(janus, dose) for dose in (6e4, 1e4, 1e3)] == [2, 3, 3]
