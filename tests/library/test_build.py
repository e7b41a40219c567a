import numpy as np
import pytest
from pymatgen.core import Structure

from library.build import build_library, collect, merge
from library.fingerprint import fingerprints
from library.records import Template
from library.sources import Entry
from library.store import Library
from microscopy.errors import LibraryError
from microscopy.micrograph import Modality


def test_a_folder_of_files_becomes_a_library(tmp_path, mos2, sns):
    source = tmp_path / "in"
    source.mkdir()
    supercell = mos2.copy()
    supercell.make_supercell([2, 2, 1])
    for name, structure in {"a": mos2, "b": supercell, "c": sns}.items():
        structure.to(filename=str(source / f"{name}.cif"))
    (source / "bad.cif").write_text("data_")
    Structure.from_spacegroup("Fd-3m", [[3.567, 0, 0], [0, 3.567, 0], [0, 0, 3.567]], ["C"], [[0, 0, 0]]).to(
        filename=str(source / "diamond.cif")
    )
    stages = []
    manifest = build_library([source], tmp_path / "out", progress=lambda *update: stages.append(update))
    library = Library.open(tmp_path / "out")
    assert library.formulas == ("MoS2", "SnS")
    assert manifest["count"] == 2
    assert manifest["merged"] == 1
    assert manifest["sources"] == {"in": 4}
    assert manifest["refusals"] == {"unreadable file": 1, "bulk: bonded in three directions": 1}
    assert library.rows(exclude=["b"]).tolist() == [1]
    assert stages[0][0] == "read"
    assert ("merge", 3, 3) in stages


def test_nothing_usable_writes_nothing(tmp_path):
    (tmp_path / "bad.cif").write_text("data_")
    with pytest.raises(LibraryError, match="no usable monolayer"):
        build_library([tmp_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_polymorphs_and_strained_copies_are_not_merged(mos2):
    octahedral = Structure(mos2.lattice, mos2.species, mos2.frac_coords)
    octahedral.translate_sites([2], [1 / 3, -1 / 3, 0])
    stretched = Structure(mos2.lattice.matrix * [[1.03], [1.03], [1]], mos2.species, mos2.frac_coords)
    mirrored = Structure(mos2.lattice, mos2.species, mos2.frac_coords * [1, 1, -1] + [0.2, 0.1, 1])
    structures = {"1H": mos2, "1T": octahedral, "stretched": stretched, "mirrored": mirrored}
    templates = [Template(id, s, "MoS2", "test") for id, s in structures.items()]
    rows, aliases = merge(templates, fingerprints(list(structures.values()), Modality.IDPC))
    assert rows == [0, 1, 2]
    assert aliases == [["mirrored"], [], []]


def test_ids_that_clash_stay_apart(tmp_path, mos2, sns):
    for name, structure in {"one": mos2, "two": sns}.items():
        (tmp_path / name).mkdir()
        structure.to(filename=str(tmp_path / name / "same.cif"))
    build_library([tmp_path / "one", tmp_path / "two"], tmp_path / "out")
    assert Library.open(tmp_path / "out").ids == ("same", "two/same")


def test_refusals_are_counted_with_an_example(mos2):
    overlap = mos2.copy()
    overlap.append("S", mos2[1].frac_coords + np.array([0, 0, 0.01]))
    found = collect([Entry("good", mos2, "test"), Entry("x", overlap, "test"), Entry("y", overlap, "test")])
    assert [t.id for t in found.templates] == ["good"]
    assert found.refusals == {"overlapping atoms": 2}
    assert found.examples["overlapping atoms"].startswith("x: ")
