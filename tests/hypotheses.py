"""A hypothesis registered on an image, without a search."""

from __future__ import annotations

import numpy as np
from pymatgen.core import Structure

from library.records import Template
from microscopy.micrograph import Micrograph
from reconstruction.alignment import align
from reconstruction.hypotheses import Proposal, hypothesise
from reconstruction.lattice import find_lattice
from reconstruction.measurement import measure
from reconstruction.records import Candidates


def hypothesis(structure: Structure, micrograph: Micrograph, strain: float = 0.03) -> Candidates:
    """Candidates with one template, registered."""
    lattice = find_lattice(micrograph, 2.1)
    assert lattice is not None
    measurement = measure(micrograph, lattice)
    template = Template("test", structure, structure.composition.reduced_formula, "test")
    proposal = Proposal(template, structure, "template", 1.0, align(structure, measurement, strain))
    candidate = hypothesise(proposal, measurement)
    return Candidates((candidate,), lattice, np.inf, 1)
