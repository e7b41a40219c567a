import pytest
from hypotheses import hypothesis
from images import graphene, layer, linear_image, mos2
from pymatgen.core import Structure

from microscopy.micrograph import Modality
from reconstruction.elements import HEAVIEST
from reconstruction.reconstruct import reconstruct


def alike(truth: Structure, noise: float, taken_for: Structure | None = None) -> dict[str, set[str]]:
    """Elements that would explain an image as well, by element of the structure it is taken for."""
    micrograph, _ = linear_image(truth, noise=noise)
    found = reconstruct(micrograph, hypothesis(taken_for or truth, micrograph))
    return {each.symbol: set(each.alike) for each in found.elements}


def test_a_good_image_leaves_only_neighbours():
    assert alike(mos2(), noise=0.3) == {"S": set(), "Mo": {"Nb", "Tc"}}


def test_noise_leaves_more():
    good, poor = alike(mos2(), noise=0.3), alike(mos2(), noise=3.0)
    assert all(good[symbol] < poor[symbol] for symbol in good)
    assert "O" not in poor["S"]
    assert "W" not in poor["Mo"]


def test_a_crystal_of_one_element_may_be_of_any():
    """The image has no absolute scale, and in HAADF all elements scatter alike."""
    assert len(alike(graphene(), noise=0.3)["C"]) == HEAVIEST - 1


def test_of_a_wrong_element_the_right_one_explains_more():
    tungsten = mos2()
    tungsten.replace_species({"Mo": "W"})
    found = alike(tungsten, noise=0.3, taken_for=mos2())
    assert "W" in found["Mo"]
    assert "Zr" not in found["Mo"]


@pytest.mark.parametrize(("modality", "shown"), [(Modality.IDPC, True), (Modality.HAADF, False)])
def test_hydrogen_is_seen_by_phase_contrast_alone(modality, shown):
    sites = [(1 / 3, 2 / 3, 0), (2 / 3, 1 / 3, 1.0), (2 / 3, 1 / 3, -1.0)]
    structure = layer(3.1, 3.1, 120, ["Mo", "H", "H"], sites)
    micrograph, _ = linear_image(structure, noise=1.0, modality=modality)
    found = reconstruct(micrograph, hypothesis(structure, micrograph))
    assert {each.symbol: each.unseen for each in found.elements} == {"H": not shown, "Mo": False}
    assert any("does not show H" in warning for warning in found.warnings) is not shown
