import numpy as np
import pytest
from images import mos2

from benchmarks.fingerprint_tolerance import rank
from benchmarks.fingerprints import MATERIALS, agreement, main, multislice_fingerprint
from library.fingerprint import fingerprint
from library.store import Library, open_libraries
from microscopy.micrograph import Modality
from microscopy.optics import Optics


@pytest.fixture(scope="module")
def library() -> Library:
    return open_libraries(None)


@pytest.fixture
def mos2_file(tmp_path):
    path = tmp_path / "mos2.cif"
    mos2().to(filename=str(path))
    return path


def test_the_materials_are_templates_that_multislice_can_image(library):
    assert set(MATERIALS) <= set(library.ids)


def test_the_rate_is_that_of_every_template_in_each_modality(mos2_file, capsys):
    assert main(["--rate", "--db", str(mos2_file)]) == 0
    heading, _, embedded, own = capsys.readouterr().out.splitlines()
    assert heading == "| templates | iDPC per s | HAADF per s |"
    assert embedded.startswith(f"| embedded library: {len(open_libraries(None))}, ")
    assert own.startswith("| mos2.cif: 1, 3.0 atoms each | ")


@pytest.mark.parametrize("name", ["1H-MX2:Mo-S", "PbO:Fe-Se"])
@pytest.mark.parametrize(
    ("scale", "shear", "strain"), [(0.1, 0.1, 0.2), (-0.1, 0.1, 0.2), (0.015, 0.0, 0.04), (-0.015, 0.015, 0.04)]
)
def test_scale_errors_and_shear_leave_a_symmetric_crystal_among_the_first(library, name, scale, shear, strain):
    assert rank(library, library.ids.index(name), scale, shear, strain, library.rows(), seed=3) <= 3


def test_scale_errors_alone_leave_any_crystal_first(library):
    assert rank(library, library.ids.index("SnS:Sn-Se"), 0.015, 0.0, 0.04, library.rows(), seed=3) == 1


@pytest.mark.slow
@pytest.mark.parametrize("modality", [Modality.IDPC, Modality.HAADF])
@pytest.mark.parametrize("id", ["graphene:C", "1H-MX2:Mo-S", "1H-MX2:W-Se"])
def test_the_linear_model_is_that_of_multislice(library, id, modality):
    found = agreement(library, id, modality)
    assert found.cosine > 0.998
    assert found.rank == 1


@pytest.mark.slow
def test_the_limit_tells_other_crystals_apart(library):
    seen = multislice_fingerprint(library.template(library.ids.index("1H-MX2:Mo-S")).structure, Modality.IDPC)
    others = [library.template(library.ids.index(id)).structure for id in ("1T-MX2:Mo-S", "1H-MX2:Mo-Se", "1H-MX2:W-S")]
    assert np.max([fingerprint(other, Optics()) @ seen for other in others]) < 0.998
