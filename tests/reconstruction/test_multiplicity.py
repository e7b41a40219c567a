"""Columns that hold the same atoms several times: an image has no absolute scale."""

from __future__ import annotations

import numpy as np
import pytest
from hypotheses import hypothesis
from images import graphene, layer, linear_image, mos2
from pymatgen.core import Structure

from benchmarks.metrics import score
from reconstruction.hypotheses import log_posterior, ranked
from reconstruction.measurement import measure
from reconstruction.multiplicity import multiplicity, thinned

COLUMNS = [(1 / 3, 2 / 3), (2 / 3, 1 / 3)]


def gallium_selenide(a: float = 3.78) -> Structure:
    heights = [("Ga", 0, 1.23), ("Ga", 0, -1.23), ("Se", 1, 2.4), ("Se", 1, -2.4)]
    return layer(a, a, 120, [each[0] for each in heights], [(*COLUMNS[at], z) for _, at, z in heights])


def one_of_each(a: float = 3.78) -> Structure:
    return layer(a, a, 120, ["Ga", "Se"], [(*COLUMNS[0], 0.2), (*COLUMNS[1], -0.2)])


@pytest.mark.parametrize(
    ("structure", "times"), [(gallium_selenide(), 2), (one_of_each(), 1), (mos2(), 1), (graphene(), 1)]
)
def test_multiplicity_is_what_all_columns_share(structure, times):
    assert multiplicity(structure) == times


def test_the_twin_explains_the_image_as_well_and_is_less_likely():
    """Seen is the twin with one atom a column; what is known is GaSe."""
    micrograph, _ = linear_image(one_of_each(), noise=0.3)
    known = hypothesis(gallium_selenide(), micrograph)
    (twin,) = thinned(known.items, measure(micrograph, known.lattice), 0.04)
    assert score(twin.structure, one_of_each()).success
    assert (twin.origin, twin.template) == ("free", "")
    assert twin.log_likelihood == pytest.approx(known.items[0].log_likelihood, rel=0.01)
    assert log_posterior(twin) < log_posterior(known.items[0])
    first, second = ranked([twin, *known.items])
    assert (first.origin, second.origin) == ("template", "free")


def test_its_atoms_are_a_bond_apart():
    micrograph, _ = linear_image(gallium_selenide(), noise=0.3)
    known = hypothesis(gallium_selenide(), micrograph)
    (twin,) = thinned(known.items, measure(micrograph, known.lattice), 0.04)
    assert 2.1 < np.min(twin.structure.distance_matrix[0, 1]) < 2.8


def test_most_crystals_have_no_twin():
    micrograph, _ = linear_image(mos2(), noise=0.3)
    known = hypothesis(mos2(), micrograph)
    assert not thinned(known.items, measure(micrograph, known.lattice), 0.04)
