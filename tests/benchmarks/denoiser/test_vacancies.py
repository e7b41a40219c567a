from __future__ import annotations

import numpy as np
import pytest
from monolayers import MONOLAYERS

from benchmarks.denoiser.statistics import wins
from benchmarks.denoiser.vacancies import darkness, sites, stacked, tables
from microscopy.defects import Defect
from microscopy.simulation import SimulationOptions, Truth

SIZE = (0.1, 0.1)


def truth(missing: list[tuple[int, tuple[int, int]]], name: str = "MoS2 1H") -> Truth:
    structure = MONOLAYERS[name][0]
    bare = Truth(structure, np.eye(2), np.array([20.0, 1.0]), SimulationOptions(shape=(300, 300), pixel_size=SIZE))
    defects = []
    for site, cell in missing:
        x, y = (structure.frac_coords[site, :2] + cell) @ bare.cell + bare.origin
        defects.append(Defect("vacancy", site, cell, None, (float(x), float(y))))
    return Truth(bare.structure, bare.matrix, bare.origin, bare.options, tuple(defects))


def drawn(places: np.ndarray, weights: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[:300, :300] * 0.1
    return sum(
        w * np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * 0.3**2)) for (a, b), w in zip(places, weights, strict=True)
    )


def test_a_missing_atom_is_darkest_of_its_site() -> None:
    seen = truth([(0, (0, 4))])
    places = sites(seen)
    image = drawn(places.positions, np.where(places.vacant, 0.0, 1.0))
    image += 5 * np.linspace(0, 1, 300)[:, None]  # background that rises by more than a column
    scores = darkness(image, SIZE, places.positions)
    own = places.members == 0
    vacant, occupied = scores[own & places.vacant], scores[own & places.occupied]
    assert len(vacant) == 1
    assert wins(vacant, occupied) == len(occupied)


def test_copies_are_where_the_truth_says() -> None:
    seen = truth([(0, (0, 4))])
    places = sites(seen)
    assert places.positions[places.vacant] == pytest.approx(np.array([seen.defects[0].position]))


def test_a_copy_whose_column_lacks_another_atom_is_not_counted() -> None:
    """One sulphur of a column of two: the other is there, yet its column is darker."""
    places = sites(truth([(1, (0, 4))]))
    other = places.members == 2
    assert places.vacant[places.members == 1].sum() == 1
    assert not places.vacant[other].any()
    assert (~places.occupied[other]).sum() == 1


def test_stacked_sites() -> None:
    assert stacked(truth([])).tolist() == [False, True, True]
    assert not stacked(truth([], "graphene")).any()


def test_table_reports_the_distance_from_the_noise_free_image() -> None:
    row = {"id": "m", "side": 512, "won": 10.0, "pairs": 10, "stacked": False, "vacant": [3.0], "occupied": [0.0]}
    free = {**row, "dose": None, "by": "as recorded"}
    noisy = {**row, "dose": 1e4, "by": "auto", "won": 9.0}
    cells = {cell[2]: cell for cell in tables([free, noisy])[0].cells}
    assert cells["auto"][5:7] == ("0.900", "0.100")
    assert cells["noise-free"][5] == "1.000"
