from __future__ import annotations

import numpy as np
import pytest
from images import linear_image, mos2
from scipy.ndimage import gaussian_filter, map_coordinates

from microscopy.integration import integrate_dpc
from microscopy.micrograph import Micrograph, Modality
from models.denoising import DenoiseOptions, denoise

SHAPE, PIXEL = (256, 256), 0.1


def mixture(image: np.ndarray) -> np.ndarray:
    record = Micrograph(image.astype(np.float32), (PIXEL, PIXEL), "0" * 64, "test.tif")
    return denoise(record, DenoiseOptions("moe")).image


def integrated(rng: np.random.Generator) -> np.ndarray:
    """Noise of an integrated image, power 1/q², unit variance."""
    noise, _ = integrate_dpc(*rng.normal(size=(2, *SHAPE)), (PIXEL, PIXEL))
    return noise / noise.std()


def fine(image: np.ndarray) -> np.ndarray:
    return image - gaussian_filter(image, 2.4 / PIXEL)


@pytest.mark.parametrize("kind", ["white", "integrated"])
@pytest.mark.parametrize("seed", range(4))
def test_noise_does_not_become_structure(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=SHAPE) if kind == "white" else integrated(rng)
    assert fine(mixture(noise)).std() < 0.1 * noise.std()


@pytest.mark.parametrize(("level", "seed"), [(0.0, 0), (0.5, 1), (0.5, 2)])
def test_single_vacancies_survive(level: float, seed: int) -> None:
    record, cell = linear_image(mos2(), shape=SHAPE, pixel=PIXEL, noise=0.0, origin=(0.0, 0.0), modality=Modality.IDPC)
    image = record.image.astype(float) / record.image.std()
    # One column, cut from the ideal image by what an isolated one looks like.
    site = mos2().frac_coords[0, :2]
    places = np.array([(site + np.array([i, j])) @ cell for i in range(-12, 13) for j in range(-12, 13)]) / PIXEL
    inside = ((places > 25) & (places < SHAPE[0] - 25)).all(axis=1)
    places = places[inside]
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    taken = np.argsort(((places - 128.0) ** 2).sum(axis=1))[[0, 20, 40]]
    for px, py in places[taken]:
        image -= 0.9 * np.ptp(image) * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * (0.45 / PIXEL) ** 2))
    noise = level * fine(np.random.default_rng(seed).normal(size=SHAPE))
    found = mixture(image + noise)
    heights = map_coordinates(found, places.T[::-1], order=1)
    vacant, occupied = heights[taken], np.delete(heights, taken)
    assert vacant.max() < occupied.min()
    depth = np.median(occupied) - vacant.max()
    assert depth > 0.6 * (np.median(occupied) - np.percentile(found, 5))
