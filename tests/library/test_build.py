import pytest
from library_folders import entries
from pymatgen.core import Structure

from library.build import build_library
from library.folder import verify
from library.store import Library
from microscopy.errors import LibraryError


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
    assert stages[0][0] == "clean and fingerprint"
    assert ("merge", 3, 3) in stages
    assert not (tmp_path / "out" / ".build").exists()


def test_nothing_usable_writes_nothing(tmp_path):
    (tmp_path / "bad.cif").write_text("data_")
    with pytest.raises(LibraryError, match="no usable monolayer"):
        build_library([tmp_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(LibraryError, match="no source"):
        build_library([], tmp_path / "out")


def test_nothing_usable_leaves_the_old_library(tmp_path, folder):
    (tmp_path / "bad.cif").write_text("data_")
    with pytest.raises(LibraryError, match="no usable monolayer"):
        build_library([tmp_path / "bad.cif"], folder)
    assert verify(folder)["count"] == 4


def test_ids_that_clash_stay_apart(tmp_path, mos2, sns):
    for name, structure in {"one": mos2, "two": sns}.items():
        (tmp_path / name).mkdir()
        structure.to(filename=str(tmp_path / name / "same.cif"))
    build_library([tmp_path / "one", tmp_path / "two"], tmp_path / "out")
    assert Library.open(tmp_path / "out").ids == ("same", "two/same")


def test_where_a_template_comes_from_is_kept(tmp_path):
    from dataclasses import replace

    from library.build import MODALITIES, build_from_entries

    entry = replace(entries(1)[0], version="2021", licence="CC-BY-4.0", url="https://example.org", prototype="h-BN")
    build_from_entries([entry], tmp_path / "out", MODALITIES, {}, None)
    found = Library.open(tmp_path / "out").template(0)
    assert (found.version, found.licence, found.url, found.prototype) == (
        "2021",
        "CC-BY-4.0",
        "https://example.org",
        "h-BN",
    )
