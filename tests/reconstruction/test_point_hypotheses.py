import pytest
from images import mos2

from microscopy.slab import plane_cell
from reconstruction.point_hypotheses import columns_of, replacements


def test_columns_hold_the_atoms_that_hide_one_another():
    columns = columns_of(mos2(), plane_cell(mos2()))
    assert [column.sites for column in columns] == [{"Mo": (0,)}, {"S": (1, 2)}]


@pytest.mark.parametrize(
    ("symbol", "expected"), [("S", ["O", "Se", "Mo"]), ("C", ["Si", "S", "Mo"]), ("Mo", ["S", "Cr", "W"])]
)
def test_replacements_are_the_crystal_and_the_group(symbol, expected):
    assert replacements(symbol, {"Mo", "S"}) == expected
