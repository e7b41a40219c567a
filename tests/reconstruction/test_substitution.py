"""Known structures with the elements that the user gave."""

from dataclasses import replace

import numpy as np
import pytest
from images import linear_image, mos2

from benchmarks.metrics import score
from library.store import open_libraries
from reconstruction.reconstruct import reconstruct
from reconstruction.retrieval import RetrievalOptions, retrieve
from reconstruction.substitution import assignments, bond_prior


@pytest.fixture(scope="module")
def library():
    return open_libraries()


def test_assignments_respect_the_formula() -> None:
    assert list(assignments(np.array([1, 2]), None, "WSe2")) == [("W", "Se")]
    assert list(assignments(np.array([2, 1]), None, "WSe2")) == [("Se", "W")]
    assert list(assignments(np.array([2, 4]), None, "WSe2")) == [("W", "Se")]
    assert list(assignments(np.array([1, 1]), None, "WSe2")) == []
    assert list(assignments(np.array([1, 1, 1]), None, "WSe2")) == []


def test_elements_alone_take_every_role() -> None:
    assert set(assignments(np.array([1, 2]), ("W", "Se"), None)) == {("Se", "W"), ("W", "Se")}
    assert list(assignments(np.array([3]), ("W", "Se"), None)) == []


def test_bonds_are_compared_with_those_of_the_known_structure() -> None:
    known = mos2()
    stretched = known.copy()
    stretched.scale_lattice(known.volume * 1.1**3)
    assert bond_prior(known, known) == 0.0
    assert bond_prior(stretched, known) == pytest.approx(-0.5 * (np.log(1.1) / 0.06) ** 2)


@pytest.mark.parametrize(
    ("name", "known"),
    [("1H-MX2:Mo-Se", {"elements": ("Mo", "Se")}), ("SnS:Sn-Se", {"formula": "SnSe"})],
    ids=["1H-MoSe2 by elements", "SnSe by formula"],
)
def test_a_material_that_the_library_lacks_is_made_of_another(library, name, known) -> None:
    structure = library.template(library.ids.index(name)).structure
    image, _ = linear_image(structure, noise=0.3)
    formula = structure.composition.reduced_formula
    options = RetrievalOptions(exclude=(formula,), substitute=True)
    asked = replace(image, **known)
    found = retrieve(asked, library, options)
    best = found.items[0]
    assert best.origin == "substitution"
    assert best.correlation > 0.99
    answer = reconstruct(asked, found)
    judged = score(answer.symmetrised, structure)
    assert judged.success
    assert judged.success_3d
    # The measured cell is released, not that of the structure it was made from.
    assert answer.a == pytest.approx(structure.lattice.a, rel=2e-3)


def test_of_a_large_library_only_structures_like_the_image_are_tried(library, monkeypatch) -> None:
    structure = library.template(library.ids.index("1H-MX2:Mo-Se")).structure
    image, _ = linear_image(structure, noise=0.3)
    asked, options = replace(image, elements=("Mo", "Se")), RetrievalOptions(exclude=("MoSe2",), substitute=True)
    everything = retrieve(asked, library, options)
    monkeypatch.setattr("reconstruction.retrieval.MOST_SUBSTITUTED", 40)
    some = retrieve(asked, library, options)
    assert some.searched == 40 < everything.searched
    assert some.items[0].log_likelihood == pytest.approx(everything.items[0].log_likelihood, rel=1e-6)


def test_nothing_is_made_of_nothing(library) -> None:
    image, _ = linear_image(mos2(), noise=0.3)
    found = retrieve(image, library, RetrievalOptions(substitute=True))
    assert all(item.origin == "template" for item in found.items)
