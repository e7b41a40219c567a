"""Suite ``vacancies``: whether a missing atom is still missing after denoising.

Every copy of a site in the field of view gets a score: by how much its column is darker than its surroundings. A
vacant copy should score higher than an occupied copy *of the same site in the same image*; the share of such pairs
in which it does is the AUC. Pairs across sites are never compared, so that no site needs to be normalised to another.
Beside it, the AUC of one threshold for all: scores in robust standard deviations of the occupied copies of their site.

Sites closer than ``benchmarks.columns.RESOLVED`` in projection are one column. Its score is that of the column, so an
occupied copy whose column lacks another atom is neither one nor the other, and is left out; a column that keeps some
of its atoms is harder to call, and stacked sites are reported apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import gaussian_filter, map_coordinates

from benchmarks.columns import RESOLVED, tiled
from benchmarks.denoiser.output import Row, dose_text, figure
from benchmarks.denoiser.request import Request
from benchmarks.denoiser.statistics import area_under_curve, clustered_error, standardised, wins
from benchmarks.denoiser.views import RECORDED, restored, view
from benchmarks.tables import Table
from microscopy.errors import AutoMatError
from microscopy.micrograph import Micrograph, Modality
from microscopy.simulation_records import Truth

DOSES = (1e4, 3e4, 6e4, None)

CENTRE, SURROUNDINGS = 0.2, 0.7
"""Å, standard deviations of the Gaussians over a column and over what it is compared with. The noise of iDPC is
largest where the image varies slowly: without surroundings, the recorded image would be judged by its background.
The best of twenty pairs of widths tried, by the AUC of *recorded* images of three materials (seed 7): no denoiser was
looked at, and recorded images are favoured. On the materials of that seed their AUC is therefore optimistic."""

EDGE = 2.5
"""Å along the edges that are not judged: the surroundings of a column must be seen whole."""

NOISE_FREE = "noise-free"


@dataclass(frozen=True, eq=False)
class Sites:
    """All copies of the sites of a crystal within a field of view that can be judged.

    Attributes
    ----------
    positions
        (x, y) in Å from the centre of the first pixel, shape (N, 2).
    members
        Site of the slab that each is a copy of, shape (N,).
    vacant, occupied
        Whether the atom is missing, and whether it and all others of its column are there, shape (N,).
    """

    positions: Float[np.ndarray, "N 2"]
    members: Int[np.ndarray, " N"]
    vacant: Bool[np.ndarray, " N"]
    occupied: Bool[np.ndarray, " N"]


def sites(truth: Truth) -> Sites:
    """Copies of every site, and which of them lack an atom."""
    shape, size = truth.options.shape, truth.options.pixel_size
    extent = ((shape[1] - 1) * size[1], (shape[0] - 1) * size[0])
    copies = tiled(truth.positions, truth.cell, extent, margin=-EDGE)
    missing = {(each.site, *each.cell) for each in truth.defects if each.element is None}
    keys = [(int(m), int(i), int(j)) for m, (i, j) in zip(copies.members, copies.indices, strict=True)]
    vacant = np.array([key in missing for key in keys], dtype=bool)
    gone = np.array([each.position for each in truth.defects if each.element is None], dtype=float).reshape(-1, 2)
    near = np.linalg.norm(copies.positions[:, None] - gone[None], axis=2) < RESOLVED
    return Sites(copies.positions, copies.members, vacant, ~near.any(axis=1))


def stacked(truth: Truth) -> Bool[np.ndarray, " N"]:
    """Whether each site of the slab shares its column with another."""
    frac = truth.positions @ np.linalg.inv(truth.cell)
    apart = frac[:, None] - frac
    apart -= np.round(apart)
    steps = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    distances = np.linalg.norm((apart[:, :, None] + steps) @ truth.cell, axis=-1).min(axis=-1)
    return np.asarray((distances < RESOLVED).sum(axis=1) > 1)


def darkness(
    image: Float[np.ndarray, "H W"], pixel_size: tuple[float, float], positions: Float[np.ndarray, "N 2"]
) -> Float[np.ndarray, " N"]:
    """By how much the image is darker at each position, (x, y) in Å, than around it, in the image's unit."""
    values = np.asarray(image, dtype=float)
    near, around = (gaussian_filter(values, [sigma / p for p in pixel_size]) for sigma in (CENTRE, SURROUNDINGS))
    rows_columns = positions[:, ::-1].T / np.array(pixel_size)[:, None]
    return np.asarray(map_coordinates(around - near, rows_columns, order=3, mode="nearest"))


def rows(request: Request) -> Iterator[Row]:
    """One row for each site of a material that has vacant and occupied copies, dose and denoiser."""
    for material in request.materials:
        for dose in request.doses or DOSES:
            for side in request.sides or (512,):
                simulation = view(
                    material,
                    Modality.IDPC,
                    dose,
                    request.seed,
                    request.cells,
                    side=side,
                    artefacts={"vacancies": request.vacancies},
                )
                places, shared = sites(simulation.truth), stacked(simulation.truth)
                for name in (RECORDED, *request.denoisers):
                    fixed = {"id": material.id, "formula": material.formula, "dose": dose, "side": side, "by": name}
                    for row in _scored(simulation.micrograph, name, places):
                        site = simulation.truth.structure[row["site"]]
                        yield fixed | row | {"element": site.specie.symbol, "stacked": bool(shared[row["site"]])}


def _scored(micrograph: Micrograph, name: str, places: Sites) -> Iterator[Row]:
    try:
        image = restored(micrograph, name)
    except AutoMatError as error:
        yield {"site": 0, "problem": str(error), "won": 0.0, "pairs": 0, "vacant": [], "occupied": []}
        return
    assert image.pixel_size is not None
    scores = darkness(image.image, image.pixel_size, places.positions)
    for site in np.unique(places.members):
        own = places.members == site
        vacant, occupied = scores[own & places.vacant], scores[own & places.occupied]
        if not len(vacant) or len(occupied) < 3:
            continue
        yield {
            "site": int(site),
            "won": wins(vacant, occupied),
            "pairs": len(vacant) * len(occupied),
            "vacant": np.round(standardised(vacant, occupied), 4).tolist(),
            "occupied": np.round(standardised(occupied, occupied), 4).tolist(),
            "problem": "",
        }


def tables(found: Sequence[Row]) -> list[Table]:
    """AUC by dose and denoiser, pooled, of the median material, and by kind of column."""
    cells = []
    groups: dict[tuple, list[Row]] = {}
    for row in found:
        groups.setdefault((row["dose"], row["side"], row["by"]), []).append(row)
    free = {side: own for (dose, side, by), own in groups.items() if dose is None and by == RECORDED}
    for (dose, side, by), own in groups.items():
        name = NOISE_FREE if dose is None and by == RECORDED else by
        pooled = _auc(own)
        short = _auc(free[side]) - pooled if side in free else float("nan")
        materials = [_auc(group) for group in _by_material(own).values()]
        cells.append(
            (
                dose_text(dose),
                str(side),
                name,
                str(len(materials)),
                str(sum(len(row["vacant"]) for row in own)),
                figure(pooled, clustered_error(_strata(own))),
                figure(short, float("nan")),
                figure(float(np.median(materials)), float("nan")) if materials else "–",
                figure(_auc([row for row in own if not row["stacked"]]), float("nan")),
                figure(_auc([row for row in own if row["stacked"]]), float("nan")),
                figure(_one_threshold(own), float("nan")),
            )
        )
    columns = (
        "e/Å²",
        "side",
        "image",
        "materials",
        "vacancies",
        "AUC",
        "below noise-free",
        "median material",
        "own column",
        "stacked",
        "one threshold",
    )
    note = (
        "iDPC. AUC: vacant against occupied copies of the same site of the same image, pooled over pairs ± standard "
        "error by bootstrap of materials. One threshold: scores standardised to the occupied copies of each site, all "
        "sites together."
    )
    return [Table("Vacancies that survive", columns, tuple(cells), note)]


def _by_material(found: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in found:
        if row["pairs"]:
            groups.setdefault(row["id"], []).append(row)
    return groups


def _strata(found: Sequence[Row]) -> dict[str, list[tuple[float, int]]]:
    return {id: [(row["won"], row["pairs"]) for row in own] for id, own in _by_material(found).items()}


def _auc(found: Sequence[Row]) -> float:
    return area_under_curve([(row["won"], row["pairs"]) for row in found])


def _one_threshold(found: Sequence[Row]) -> float:
    vacant = [score for row in found for score in row["vacant"]]
    occupied = [score for row in found for score in row["occupied"]]
    return wins(vacant, occupied) / (len(vacant) * len(occupied)) if vacant and occupied else float("nan")
