import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from microscopy.errors import SimulationError
from microscopy.structures import load_structure

SHEET = Structure(
    Lattice.orthorhombic(3.3, 4.4, 18), ["Sn", "Se"], [[0.1, 0.2, 0.97], [0.6, 0.7, 0.09]]
)  # wraps through z


@pytest.mark.parametrize("name", ["sheet.cif", "POSCAR", "sheet.vasp", "sheet.extxyz", "sheet.xsf"])
def test_formats_agree(tmp_path, name):
    path = tmp_path / name
    if name.endswith("cif"):
        SHEET.to(filename=str(path))
    else:
        from pymatgen.io.ase import AseAtomsAdaptor

        AseAtomsAdaptor.get_atoms(SHEET).write(path, format=None if ".x" in name or ".ext" in name else "vasp")
    structure = load_structure(path)
    assert structure.lattice.abc[:2] == pytest.approx((3.3, 4.4), abs=1e-4)
    assert structure.cart_coords[1, 2] - structure.cart_coords[0, 2] == pytest.approx(0.12 * 18, abs=1e-3)
    in_plane = (structure.frac_coords[1, :2] - structure.frac_coords[0, :2]) % 1
    np.testing.assert_allclose(in_plane, [0.5, 0.5], atol=1e-4)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_vacuum_may_lie_along_any_axis(tmp_path, axis):
    order = [(axis + k) % 3 for k in (2, 1, 0)]  # any arrangement with the vacuum on ``axis``
    place = [order.index(k) for k in range(3)]
    turned = Structure(
        Lattice.from_parameters(*np.array(SHEET.lattice.abc)[place], 90, 90, 90),
        SHEET.species,
        SHEET.frac_coords[:, place],
    )
    path = tmp_path / "turned.cif"
    turned.to(filename=str(path))
    assert sorted(load_structure(path).lattice.abc[:2]) == pytest.approx([3.3, 4.4])


def rock_salt():
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def mixed():
    return Structure(Lattice.tetragonal(3, 20), [{"Mo": 0.5, "W": 0.5}], [[0, 0, 0.5]])


@pytest.mark.parametrize(("make", "message"), [(rock_salt, "no vacuum"), (mixed, "disordered")])
def test_what_is_no_monolayer_is_refused(tmp_path, make, message):
    path = tmp_path / "x.cif"
    make().to(filename=str(path))
    with pytest.raises(SimulationError, match=message):
        load_structure(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.cif", ""), ("x.cif", "hello"), ("x.cif", "data_x\nloop_\n"), ("x.xyz", "3\n\nH 0 0\n"), ("POSCAR", "\0\1\2"),
     ("m.xyz", "1\n\nH 0 0 0\n"), ("x.unheard-of", "1")],
)  # fmt: skip
def test_what_is_no_structure_is_refused_in_one_line(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(SimulationError) as error:
        load_structure(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(SimulationError, match="No such file"):
        load_structure(tmp_path / "none.cif")
    with pytest.raises(SimulationError, match=r"[Dd]irectory"):
        load_structure(tmp_path)
