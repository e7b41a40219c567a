"""Crystals whose columns all hold the same atoms several times, as those of GaSe do.

An image has no absolute scale: a crystal with one atom in place of every two looks the same, and is a hypothesis of
its own, whether a library holds it or not. What decides between them is the prior alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pymatgen.core import Element, Structure

from library.fingerprint import fingerprint
from microscopy.slab import plane_cell
from reconstruction.distortion import GUESS
from reconstruction.heights import find_heights
from reconstruction.hypotheses import LEADING, log_posterior
from reconstruction.measurement import Measurement
from reconstruction.point_hypotheses import columns_of
from reconstruction.query import image_fingerprint
from reconstruction.records import Candidate
from reconstruction.template_free import BOND_WEIGHT, raised, registered


def multiplicity(structure: Structure) -> int:
    """How many times the projected columns of a slab hold all that they hold: 1 for most, 2 for GaSe."""
    columns = columns_of(structure, plane_cell(structure))
    return math.gcd(*(len(sites) for column in columns for sites in column.sites.values()))


def thinned(
    candidates: Sequence[Candidate], measurement: Measurement, strain: float, sign_free: bool = False
) -> list[Candidate]:
    """Counterparts of the leading known structures with each atom of a column once; none for most crystals.

    What is made has them anyway: among other structure types, and other fillings of the columns.

    Parameters
    ----------
    candidates
        Registered hypotheses, in any order.
    measurement
        The image's coefficients.
    strain
        Largest relative deformation between a hypothesis's cell and the image's.
    sign_free
        Whether the image's contrast may be inverted.

    Returns
    -------
    Candidates with the origin ``"free"``: their heights come from bond lengths.
    """
    found: list[Candidate] = []
    for parent in sorted(candidates, key=log_posterior, reverse=True)[:LEADING]:
        times = multiplicity(parent.structure) if parent.origin == "template" else 1
        if times == 1:
            continue
        structure, misfit = _thinned(parent.structure, times)
        rotations = (parent.detector_rotation,)
        twin = registered(structure, measurement, rotations, strain, sign_free, GUESS, parent.source)
        if twin is not None:
            score = float(image_fingerprint(measurement) @ fingerprint(structure, measurement.optics))
            found.append(replace(twin, score=score, log_prior=twin.log_prior - BOND_WEIGHT * misfit))
    return found


def _thinned(structure: Structure, times: int) -> tuple[Structure, float]:
    """One atom in place of every ``times`` of a column, at heights that bond lengths ask for; and the bonds' misfit."""
    cell = plane_cell(structure)
    columns = columns_of(structure, cell)
    kept = [
        (column.frac @ cell, Element(symbol).Z)
        for column in columns
        for symbol, sites in column.sites.items()
        for _ in range(len(sites) // times)
    ]
    positions, numbers = np.array([place for place, _ in kept]), np.array([number for _, number in kept])
    (best,) = find_heights(positions, cell, numbers, keep=1)
    return raised(cell, positions, numbers, best.z), best.misfit
