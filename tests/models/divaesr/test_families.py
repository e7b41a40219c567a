from __future__ import annotations

import math

import pytest
import torch

from models.divaesr.configuration import PATTERNS
from models.divaesr.families import ANGLES, FARTHEST, NEAREST, RADII, FamilyReader, repeats

PIXEL = 0.2
HEXAGONAL, SQUARE = ((3.2, 0.0), (1.6, 2.7713)), ((3.9, 0.0), (0.0, 3.9))


def image(cell, shape=(192, 192), turn=0.0, noise=0.0, seed=0) -> torch.Tensor:
    """Gaussian columns on a lattice, with unit variance before white noise is added, (1, 1, H, W)."""
    c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    rows = torch.tensor(cell, dtype=torch.float64) @ torch.tensor([[c, s], [-s, c]], dtype=torch.float64)
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) * PIXEL for n in shape), indexing="ij")
    fractions = torch.stack([x, y], dim=-1) @ torch.linalg.inv(rows)
    offset = (fractions - fractions.round()) @ rows
    clean = torch.exp(-offset.square().sum(dim=-1) / (2 * 0.45**2))
    clean = (clean - clean.mean()) / clean.std()
    white = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return (clean.float() + noise * white)[None, None]


def seen(image: torch.Tensor) -> torch.Tensor:
    return repeats(image, torch.ones_like(image), PIXEL)[0, 0]


def brightest(polar: torch.Tensor) -> tuple[float, float]:
    """Length in Å and direction in degrees of the shortest of the brightest vectors, whose spot may be clipped."""
    spots = torch.nonzero(polar == polar.max()).double()
    row, column = spots[spots[:, 0] <= spots[0, 0] + 4].mean(dim=0).tolist()
    return NEAREST * (FARTHEST / NEAREST) ** (row / (RADII - 1)), column * 180 / ANGLES


@pytest.mark.parametrize("shape", [(192, 192), (96, 256), (301, 150)])
@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_an_image_repeats_itself_by_the_vectors_of_its_lattice(shape: tuple[int, int], noise: float) -> None:
    polar = seen(image(((3.0, 0.0), (0.0, 7.5)), shape, turn=25.0, noise=noise))
    length, direction = brightest(polar)
    assert length == pytest.approx(3.0, rel=0.04)
    assert direction == pytest.approx(25.0, abs=3.0)


def test_a_rotation_moves_the_map_along_and_another_size_across() -> None:
    rows, near = 8, slice(4, 40)
    size = (FARTHEST / NEAREST) ** (rows / (RADII - 1))
    plain = seen(image(HEXAGONAL, noise=0.3))
    turned = seen(image(HEXAGONAL, turn=16 * 180 / ANGLES, noise=0.3))
    larger = seen(image(tuple((size * x, size * y) for x, y in HEXAGONAL), noise=0.3))

    def alike(one: torch.Tensor, other: torch.Tensor) -> float:
        return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])

    assert alike(turned[near], plain.roll(16, 1)[near]) > 0.95
    assert alike(larger[rows:][near], plain[:-rows][near]) > 0.8
    assert max(alike(turned[near], plain[near]), alike(larger[near], plain[near])) < 0.1


def test_noise_repeats_nothing() -> None:
    noise = [seen(torch.randn((1, 1, 192, 192), generator=torch.Generator().manual_seed(n))) for n in range(4)]
    # The unit is three times the root mean square of the map: a lattice has few and high peaks, noise none.
    assert max(float((n > 2.0).float().mean()) for n in noise) == 0.0
    assert all(float(n.square().mean()) == pytest.approx(1 / 9, rel=0.02) for n in noise)
    assert float((seen(image(SQUARE, noise=1.0)) > 2.0).float().mean()) > 0.001


def test_masked_pixels_do_not_matter() -> None:
    one, mask = image(SQUARE, noise=0.5), torch.ones(1, 1, 192, 192)
    mask[..., 40:60, :] = 0
    other = torch.where(mask > 0, one, 50.0)
    torch.testing.assert_close(repeats(one, mask, PIXEL), repeats(other, mask, PIXEL), atol=0, rtol=0)


def test_smallest_and_flat_images_have_a_map() -> None:
    for flat in (torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 40, 24)):
        polar = repeats(flat, torch.ones_like(flat), PIXEL)
        assert polar.shape == (2, 1, RADII, ANGLES)
        assert bool(torch.isfinite(polar).all())


def test_a_reader_says_the_same_of_a_turned_map() -> None:
    torch.manual_seed(0)
    reader, polar = FamilyReader(4).eval(), torch.randn(2, 1, RADII, ANGLES)
    with torch.no_grad():
        said, turned = reader(polar), reader(polar.roll(32, dims=-1))
    assert said.shape == (2, len(PATTERNS))
    torch.testing.assert_close(said, turned, atol=1e-5, rtol=1e-4)
    assert float((said[0] - said[1]).abs().max()) > 1e-3
