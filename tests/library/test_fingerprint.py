import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import graphene, mos2, mos2_1t, oblique, tin_sulfide

from library.fingerprint import FINGERPRINT_SIZE, fingerprint, fingerprints, nodes, powder_pattern
from library.store import open_libraries
from microscopy.micrograph import Modality
from microscopy.optics import Optics
from microscopy.slab import plane_cell

ALL = {"MoS2": mos2(), "1T": mos2_1t(), "graphene": graphene(), "SnS": tin_sulfide(), "oblique": oblique()}


@pytest.mark.parametrize("modality", [Modality.IDPC, Modality.HAADF, Modality.ABF])
def test_shape_and_length(modality):
    table = fingerprints(list(ALL.values()), modality)
    assert table.shape == (len(ALL), FINGERPRINT_SIZE)
    assert np.linalg.norm(table, axis=1) == pytest.approx(1.0, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(sorted(ALL)),
    shift=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    supercell=st.sampled_from(
        [((1, 0), (0, 1)), ((2, 1), (0, 1)), ((0, 1), (1, 0)), ((1, 1), (-1, 2)), ((1, 3), (0, -1))]
    ),
)
def test_invariant_to_origin_cell_and_handedness(name, shift, supercell):
    structure = ALL[name]
    changed = structure.copy()
    changed.translate_sites(range(len(changed)), [*shift, 0.0])
    (a, b), (c, d) = supercell
    changed.make_supercell([[a, b, 0], [c, d, 0], [0, 0, 1]])
    assert fingerprint(changed, Optics()) @ fingerprint(structure, Optics()) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("modality", [Modality.IDPC, Modality.HAADF])
def test_the_numbers_are_those_stored_under_this_version(modality):
    library = open_libraries(None)
    rows = range(0, len(library), 60)
    again = fingerprints([library.template(row).structure for row in rows], modality)
    assert again == pytest.approx(library.fingerprints(modality)[list(rows)], abs=1e-6)


def test_different_crystals_differ():
    table = fingerprints(list(ALL.values()), Modality.IDPC)
    overlap = table @ table.T
    assert overlap[~np.eye(len(ALL), dtype=bool)].max() < 0.97


def test_nodes_are_one_of_each_friedel_pair():
    cell = plane_cell(oblique())
    found = {tuple(h) for h in nodes(cell, 1.5, 0.0).tolist()}
    assert not any((-h, -k) in found for h, k in found)
    area = abs(np.linalg.det(cell))
    assert len(found) == pytest.approx(np.pi * 1.5**2 * area / 2, rel=0.05)


def test_patterns_on_several_lattices_are_those_on_each():
    rng = np.random.default_rng(1)
    q, power = rng.uniform(0, 2.2, (2, 3, 40)), rng.random(40)
    together = powder_pattern(q, power)
    assert together.shape == (2, 3, FINGERPRINT_SIZE)
    assert together[1, 2] == pytest.approx(powder_pattern(q[1, 2], power), abs=1e-7)


def test_an_empty_pattern_stays_empty():
    assert not powder_pattern(np.array([0.5, 5.0]), np.array([0.0, 1.0])).any()
