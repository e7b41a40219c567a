from dataclasses import replace

import numpy as np
import pytest
from images import graphene, linear_image, mos2, tin_sulfide, turn

from library.store import open_libraries
from microscopy.micrograph import Micrograph, Modality
from microscopy.slab import plane_cell
from reconstruction.hypotheses import log_posterior, looks_alike
from reconstruction.retrieval import RetrievalOptions, retrieve


@pytest.fixture(scope="module")
def library():
    return open_libraries()


@pytest.fixture(scope="module")
def mos2_image():
    return linear_image(mos2(3.18), noise=0.6)[0]


def test_finds_the_material_among_all_templates(library, mos2_image):
    found = retrieve(mos2_image, library)
    assert found.searched == len(library)
    # Janus VSeS has the same cell and nearly the same contrast: which of the two leads is up to the noise.
    leaders = {item.structure.composition.reduced_formula: item for item in found.items[:3]}
    assert leaders["MoS2"].template.startswith("1H")
    assert leaders["MoS2"].correlation > 0.99
    assert sum(item.probability for item in found.items) <= 1 + 1e-9
    assert [log_posterior(item) for item in found.items] == sorted(
        (log_posterior(item) for item in found.items), reverse=True
    )


def test_elements_and_formula_restrict_the_search(library, mos2_image):
    found = retrieve(replace(mos2_image, elements=("Mo", "S")), library)
    assert {item.structure.composition.reduced_formula for item in found.items} == {"MoS2"}
    assert found.searched < 5
    dropped = retrieve(replace(mos2_image, elements=("B", "N")), library, RetrievalOptions(use_elements=False))
    assert "MoS2" in {item.structure.composition.reduced_formula for item in dropped.items[:3]}


def test_what_is_excluded_is_not_found(library, mos2_image):
    found = retrieve(mos2_image, library, RetrievalOptions(exclude=("MoS2",)))
    assert all(item.structure.composition.reduced_formula != "MoS2" for item in found.items)


def test_the_answer_does_not_depend_on_how_the_crystal_lies(library):
    names = set()
    for angle, mirror in [(0, 1), (33, 1), (90, -1), (201, -1)]:
        image, _ = linear_image(tin_sulfide(), matrix=turn(angle) @ np.diag([1.0, mirror]), noise=0.4)
        image = replace(image, elements=("S", "Sn"))
        names.add(retrieve(image, library).items[0].template)
    assert len(names) == 1


def test_inverted_contrast_is_allowed_when_the_modality_is_unknown(library):
    image, _ = linear_image(graphene(), modality=Modality.IDPC, noise=0.3)
    inverted = replace(image, image=-image.image, modality=Modality.UNKNOWN)
    best = retrieve(replace(inverted, elements=("C",)), library).items[0]
    assert best.structure.composition.reduced_formula == "C"
    assert best.amplitude < 0


def test_noise_and_foreign_lattices_give_no_candidates(library):
    noise = np.random.default_rng(0).normal(size=(128, 160)).astype(np.float32)
    empty = retrieve(Micrograph(noise, (0.15, 0.15), "", "noise"), library)
    assert empty.items == ()
    assert empty.lattice is None
    stretched, _ = linear_image(mos2(), matrix=turn(5) * 1.4)
    assert retrieve(replace(stretched, elements=("Mo", "S")), library).items == ()


def test_looks_alike():
    assert looks_alike(mos2(3.16), mos2(3.18))
    assert not looks_alike(mos2(3.16), mos2(3.40))
    assert not looks_alike(mos2(), graphene())
    double = mos2()
    double.make_supercell([[2, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert looks_alike(mos2(), double)
    assert abs(np.linalg.det(plane_cell(double))) == pytest.approx(2 * abs(np.linalg.det(plane_cell(mos2()))))
