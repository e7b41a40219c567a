import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from library.filters import fits_lattice, reduced_formula
from library.records import Template
from library.table import to_table
from microscopy.errors import LibraryError
from microscopy.slab import plane_cell
from reconstruction.alignment import alignments


@pytest.fixture(scope="module")
def cells(templates):
    """Cells of the templates, and of supercells of them."""
    found = []
    for template in templates:
        for size in ([1, 1, 1], [2, 1, 1], [3, 2, 1]):
            found.append(template.structure.copy())
            found[-1].make_supercell(size)
    return found


@settings(max_examples=60, deadline=None)
@given(
    a=st.floats(1.5, 7),
    ratio=st.floats(1, 2.5),
    gamma=st.floats(60, 120),
    strain=st.sampled_from([0.01, 0.04, 0.15]),
    index=st.integers(0, 11),
    own=st.booleans(),
)
def test_no_cell_is_lost_that_could_be_aligned(cells, a, ratio, gamma, strain, index, own):
    lattice = np.array([[a, 0], [a * ratio * np.cos(np.radians(gamma)), a * ratio * np.sin(np.radians(gamma))]])
    if own:  # a lattice close to one that fits
        stretch = np.array([[1 + strain * np.cos(a), 0.3 * strain], [0, 1 - strain * np.sin(a)]])
        lattice = plane_cell(cells[index]) @ stretch
    table = to_table([Template(str(k), s, "", "") for k, s in enumerate(cells)], {})
    kept = fits_lattice(table, lattice, strain)
    for structure, keep in zip(cells, kept, strict=True):
        assert keep or not len(alignments(plane_cell(structure), lattice, strain))


def test_most_cells_do_not_fit_a_lattice(templates):
    table = to_table(templates, {})
    # MoSe2 here has the cell of MoS2.
    assert fits_lattice(table, plane_cell(templates[0].structure), 0.04).tolist() == [True, False, True, False]


def test_formulas_are_reduced_or_refused():
    assert reduced_formula("Mo2S4") == reduced_formula("S2Mo") == "MoS2"
    for text in ("no formula", "Mo S two"):
        with pytest.raises(LibraryError, match="formula"):
            reduced_formula(text)
