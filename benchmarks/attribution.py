"""Why an answer is wrong: the first stage of the pipeline whose result could not lead to the truth."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from jaxtyping import Float
from pymatgen.core.structure import Structure

from benchmarks.metrics import Score, score, success_3d
from benchmarks.pipeline import Answer

SAME_LATTICE = 0.03
"""Relative deviation of a lattice vector below which it is the truth's: more than the scan distorts within a frame."""

LARGEST_INDEX = 24
"""Cells of the image's lattice in the crystal's cell beyond which any two lattices would agree."""


class Cause(StrEnum):
    """Where an answer went wrong."""

    NONE = "none"
    FAILURE = "failure"
    LATTICE = "lattice"
    RETRIEVAL = "retrieval"
    RANKING = "ranking"
    SPECIES = "species"
    SUPERCELL = "supercell"
    POSITION = "position"
    HEIGHT = "z"
    RELAXATION = "relaxation"


MEANING = {
    Cause.NONE: "right",
    Cause.FAILURE: "the run failed",
    Cause.LATTICE: "no lattice, or one that is not the crystal's",
    Cause.RETRIEVAL: "the truth is not among the candidates, and what was answered has another structure",
    Cause.RANKING: "the truth is among the candidates, but another structure was preferred",
    Cause.SPECIES: "right structure, wrong elements",
    Cause.SUPERCELL: "right formula and density, another cell",
    Cause.POSITION: "right formula and cell, sites more than the limit away",
    Cause.HEIGHT: "right in projection, heights wrong",
    Cause.RELAXATION: "right as measured; the relaxation did not converge or left the crystal",
}


def attribute(
    answer: Answer,
    verdict: Score | None,
    truth: Structure,
    seen: Float[np.ndarray, "2 2"],
    hit: int | None,
    calibrated: bool,
) -> Cause:
    """Name the first stage that went wrong.

    Parameters
    ----------
    answer
        What the pipeline said.
    verdict
        Its score; None when there is no structure.
    truth
        The slab.
    seen
        Rows a, b of the truth's cell as they appear in the image, Å.
    hit
        Rank of the first candidate that is the truth, 1 for the answer; None when none is.
    calibrated
        Whether lengths are judged.
    """
    lattice = answer.candidates.lattice
    if lattice is None or not contains(lattice.vectors, seen):
        return Cause.NONE if verdict is not None and verdict.success else Cause.LATTICE
    if verdict is None or answer.reconstruction is None:
        return Cause.RETRIEVAL
    if verdict.success:
        return Cause.HEIGHT if not verdict.success_3d else Cause.RELAXATION if _left(answer, truth) else Cause.NONE
    if verdict.formula:
        same_density = verdict.area_error is not None and verdict.area_error <= SAME_LATTICE
        if verdict.rmsd_projected is None:
            return Cause.SUPERCELL if same_density else Cause.RETRIEVAL
        return Cause.POSITION
    if score(_one_element(answer.reconstruction.symmetrised), _one_element(truth), calibrated=calibrated).success:
        return Cause.SPECIES
    return Cause.RANKING if hit is not None else Cause.RETRIEVAL


def contains(lattice: Float[np.ndarray, "2 2"], cell: Float[np.ndarray, "2 2"]) -> bool:
    """Whether a cell (rows, Å) is a cell or supercell of a lattice."""
    rows = cell @ np.linalg.inv(lattice)
    whole = np.round(rows)
    index = abs(round(float(np.linalg.det(whole))))
    misfit = np.linalg.norm((rows - whole) @ lattice, axis=1) / np.linalg.norm(cell, axis=1)
    return bool(1 <= index <= LARGEST_INDEX and misfit.max() <= SAME_LATTICE)


def _left(answer: Answer, truth: Structure) -> bool:
    """Whether the relaxation, if there was one, did not end in the crystal."""
    relaxed = answer.relaxation
    return relaxed is not None and not (relaxed.converged and success_3d(relaxed.structure, truth))


def _one_element(structure: Structure) -> Structure:
    """The same sites, all of one element."""
    return Structure(structure.lattice, ["C"] * len(structure), structure.frac_coords)
