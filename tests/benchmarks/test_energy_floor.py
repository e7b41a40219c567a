from __future__ import annotations

import pytest

from benchmarks.energy_floor import errors, row
from benchmarks.materials import Material
from library.store import open_libraries


@pytest.fixture(scope="module")
def graphene() -> Material:
    library = open_libraries()
    return Material("graphene", library.template(library.ids.index("graphene:C")).structure, 0.05)


def test_relaxation_lowers_the_energy_by_what_it_gains(graphene: Material) -> None:
    ((unrelaxed, relaxed),) = errors([graphene], "sevennet-0")
    assert relaxed <= unrelaxed + 1e-6
    assert unrelaxed - relaxed < 5.0  # it was relaxed with this potential
    assert abs(relaxed) < 100.0


def test_what_has_no_known_energy_is_left_out(graphene: Material) -> None:
    assert errors([Material("?", graphene.structure, None)], "sevennet-0") == []


def test_a_row_has_means_and_medians_of_sizes() -> None:
    assert row("x", [(10.0, -4.0), (-20.0, 2.0)], 3.0) == ("x", "2", "15.0 / 15.0", "3.0 / 3.0", "1.5")
