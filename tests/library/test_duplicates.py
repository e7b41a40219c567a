import numpy as np
from pymatgen.core import Structure

from library.duplicates import merge
from library.fingerprint import fingerprints
from library.patterns import Patterns
from library.records import Template
from library.table import to_table
from microscopy.micrograph import Modality


def test_polymorphs_and_strained_copies_are_not_merged(mos2):
    octahedral = Structure(mos2.lattice, mos2.species, mos2.frac_coords)
    octahedral.translate_sites([2], [1 / 3, -1 / 3, 0])
    stretched = Structure(mos2.lattice.matrix * [[1.03], [1.03], [1]], mos2.species, mos2.frac_coords)
    mirrored = Structure(mos2.lattice, mos2.species, mos2.frac_coords * [1, 1, -1] + [0.2, 0.1, 1])
    structures = [mos2, octahedral, stretched, mirrored]
    table = to_table([Template(str(k), s, "MoS2", "test") for k, s in enumerate(structures)], {})
    patterns = Patterns([fingerprints(structures, Modality.IDPC)])
    assert merge(table, patterns) == {3: 0}
    assert merge(table, patterns, known=3) == {3: 0}
    assert merge(table, patterns, known=4) == {}
    # The first of a kind is kept, whichever it is.
    order = np.array([3, 1, 0, 2])
    assert merge(table.take(order), Patterns([patterns.take(order)])) == {2: 0}
