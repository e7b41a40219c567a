from collections import Counter

import numpy as np
import pytest
from pymatgen.core import Composition

from library.decoration import decorations, radius
from library.geometry import OVERLAP_FACTOR, bond_network, closest_contact
from library.prototype_files import read_prototypes

PROTOTYPES = read_prototypes()
ALL = [decoration for prototype in PROTOTYPES for decoration in decorations(prototype)]


def test_there_are_enough_prototypes_with_unique_names_and_decorations():
    assert len({p.name for p in PROTOTYPES}) == len(PROTOTYPES) >= 24
    assert len(ALL) >= 1000
    assert max(Counter(d.id for d in ALL).values()) == 1


@pytest.mark.parametrize("prototype", PROTOTYPES, ids=lambda p: p.name)
def test_the_first_decoration_starts_as_one_layer_without_overlap(prototype):
    structure = next(decorations(prototype)).structure()
    assert closest_contact(structure) > OVERLAP_FACTOR
    assert bond_network(structure).ranks == (2,)


@pytest.mark.parametrize("prototype", [p for p in PROTOTYPES if p.known], ids=lambda p: p.name)
def test_every_published_member_can_be_made_and_starts_near_its_lattice(prototype):
    for known in prototype.known:
        formula = Composition(known.formula).reduced_formula
        starts = [d.structure() for d in decorations(prototype)]
        lattices = [s.lattice for s in starts if s.composition.reduced_formula == formula]
        assert lattices, known.formula
        assert min(abs(lattice.a / known.a - 1) for lattice in lattices) < 0.15
        assert known.source


def test_charges_balance_where_the_rule_asks_for_it():
    prototype = next(p for p in PROTOTYPES if p.name == "1T-MX2")
    formulas = {d.structure().composition.reduced_formula for d in decorations(prototype)}
    assert {"SnS2", "CdI2"} <= formulas
    assert not {"SnI2S", "CdS2", "TiS"} & formulas


def test_janus_layers_appear_once_for_both_orders():
    prototype = next(p for p in PROTOTYPES if p.name == "Janus-1H")
    formulas = [d.structure().composition.reduced_formula for d in decorations(prototype)]
    assert formulas.count("MoSeS") == 1
    assert "MoS2" not in formulas


def test_radii():
    # Shannon's crystal radii (Acta Crystallogr. A 32, 751 (1976)); Cordero's covalent radius of carbon.
    assert np.isclose(radius("ionic", "S", -2), 1.70)
    assert np.isclose(radius("ionic", "Mg", 2), 0.86)
    assert np.isclose(radius("covalent", "C"), 0.76)
    assert np.isclose(radius("metallic", "Ti"), 1.47)
    assert np.isclose(radius("metallic", "O"), radius("covalent", "O"))
