from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from images import layer, linear_image, mos2, oblique, turn
from scipy.ndimage import gaussian_filter

from microscopy.micrograph import Micrograph, Modality
from models.denoising import DenoiseOptions, denoise
from models.divaesr import inference, weights
from models.divaesr.configuration import KINDS
from models.divaesr.inference import network, restore

PIXEL = (0.1, 0.1)


def lattice(shape: tuple[int, int] = (160, 192), pixel: float = 0.1) -> np.ndarray:
    """MoS2 by the linear model, without noise, unit variance."""
    image = linear_image(mos2(), shape=shape, pixel=pixel, noise=0.0, modality=Modality.IDPC)[0].image
    return image / image.std()


def noisy(shape: tuple[int, int] = (160, 192), pixel: float = 0.1, noise: float = 0.7, seed: int = 0) -> np.ndarray:
    return (lattice(shape, pixel) + noise * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def test_a_large_image_has_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    image = noisy((440, 120), 0.2)
    tiled = restore(image, (0.2, 0.2), expert="phase-high")
    assert len(inference._starts(tiled.fine.shape[0] // 2)) == 2
    monkeypatch.setattr(inference, "TILE", 10_000)
    whole = restore(image, (0.2, 0.2), expert="phase-high")
    difference = (tiled.image - whole.image) / whole.image.std()
    # An expert looks farther than the rim of a tile, but hardly minds what it sees there.
    assert np.abs(difference).max() < 0.15
    assert difference.std() < 0.01
    steps = np.abs(np.diff(difference, axis=0)).mean(axis=1)  # along every border between two rows
    assert steps.max() < 0.01


@pytest.mark.parametrize("side", [8, 320, 328, 576, 1000])
def test_tiles_cover_an_image_and_fade_into_each_other(side: int) -> None:
    starts = inference._starts(side)
    total = torch.zeros(2 * side)
    for start in starts:
        length = min(inference.TILE, side - start)
        part = inference._fade(start, length, side)
        total[2 * start : 2 * (start + length)] += part
    assert starts[-1] + inference.TILE >= side
    assert float(total.min()) > 0.9
    assert float(total[0]) == float(total[-1]) == 1.0


def test_two_calls_give_the_same_bits() -> None:
    image = noisy()
    one, other = restore(image, PIXEL), restore(image.copy(), PIXEL)
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.spread, other.spread)
    assert one.weights == other.weights


@pytest.mark.parametrize("shape", [(32, 32), (33, 57), (121, 90), (40, 300)])
def test_any_shape(shape: tuple[int, int]) -> None:
    found = restore(noisy(shape), PIXEL)
    assert found.image.shape == found.spread.shape == shape
    assert found.image.dtype == found.fine.dtype == np.float32
    assert np.isfinite(found.image).all()
    assert (found.spread >= 0).all()
    truth = lattice(shape)
    assert np.corrcoef(found.image.ravel(), truth.ravel())[0, 1] > 0.8


def test_pixels_need_not_be_square() -> None:
    image = noisy((160, 160))[:, ::2]
    found = restore(image, (0.1, 0.2)).image
    assert np.corrcoef(found.ravel(), lattice((160, 160))[:, ::2].ravel())[0, 1] > 0.95


def test_the_pixel_size_does_not_change_the_structure() -> None:
    fine = noisy((200, 240), noise=0.3)
    coarse = inference._resampled(fine, (100, 120))
    one, other = restore(fine, (0.1, 0.1)), restore(coarse, (0.2, 0.2))
    np.testing.assert_allclose(one.fine, other.fine, atol=0.02 * float(one.fine.std()))
    assert one.weights == pytest.approx(other.weights, abs=0.01)


def test_the_result_has_the_unit_and_the_mean_of_the_image() -> None:
    image = noisy()
    one, other = restore(image, PIXEL), restore(image * 1e-3 + 5, PIXEL)
    assert one.image.mean() == pytest.approx(image.mean(), abs=0.05)
    np.testing.assert_allclose((other.image - 5) * 1e3, one.image, atol=0.02)
    np.testing.assert_allclose(other.spread * 1e3, one.spread, atol=0.02)


def test_a_hole_is_filled_with_the_lattice() -> None:
    truth = lattice()
    mask = np.ones(truth.shape, dtype=bool)
    mask[70:95, 80:105] = False
    spoiled = np.where(mask, noisy(noise=0.3), 50.0).astype(np.float32)
    record = Micrograph(spoiled, PIXEL, "0" * 64, "test.tif", mask=mask)
    found = denoise(record, DenoiseOptions("moe")).image
    surroundings = gaussian_filter(np.where(mask, truth, 0.0), 8) / gaussian_filter(mask.astype(float), 8)
    error = np.var((found - truth)[~mask])
    assert error < 0.2 * np.var((surroundings - truth)[~mask])


@pytest.mark.parametrize("kind", KINDS)
def test_one_expert_can_be_asked_alone(kind: str) -> None:
    found = restore(noisy((64, 64)), PIXEL, expert=kind)
    assert found.weights == {kind: 1.0}
    assert not found.spread.any()


def test_the_answer_is_the_weighted_sum_of_the_experts_and_their_spread() -> None:
    image = noisy(noise=1.0)
    found = restore(image, PIXEL)
    assert len(found.weights) == 2
    assert sum(found.weights.values()) == pytest.approx(1.0, abs=1e-3)
    (one, share), (other, rest) = found.weights.items()
    a, b = restore(image, PIXEL, expert=one).image, restore(image, PIXEL, expert=other).image
    np.testing.assert_allclose(found.image, share * a + rest * b, atol=2e-3)
    assert found.spread.mean() == pytest.approx(np.abs(a - b).mean() / 2, rel=0.1)


def test_an_unknown_expert_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"no expert 'bright-field'; choose one of phase-low, phase-high"):
        restore(noisy((32, 32)), PIXEL, expert="bright-field")


def test_strength_moves_the_share_towards_the_experts_for_little_signal() -> None:
    image = noisy(noise=0.7)
    low = []
    for strength in (0.1, 0.8, 1.25, 10.0):
        shares = restore(image, PIXEL, strength=strength).weights
        low.append(sum(share for kind, share in shares.items() if kind.endswith("low")))
    assert low == sorted(low)
    assert low[0] < 0.1
    assert low[-1] > 0.9


def test_more_noise_is_seen_as_such() -> None:
    levels = [restore(noisy(noise=n), PIXEL).level for n in (0.5, 1.0, 2.0, 4.0)]
    assert levels == sorted(levels, reverse=True)
    assert levels[0] - levels[3] > 10  # 18 dB


FAMILIES = {
    "hexagonal": mos2(),
    "square": layer(3.9, 3.9, 90, ["Fe", "Se"], [(0, 0, 0), (0.5, 0.5, 1.4)]),
    "rectangular": layer(3.3, 4.6, 90, ["P", "P"], [(0, 0.1, 0), (0.5, 0.4, 1.2)]),
    "oblique": oblique(),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("noise", "degrees"), [(0.3, 0.0), (2.0, 17.0)])
def test_the_pattern_family_is_read(family: str, noise: float, degrees: float) -> None:
    micrograph, _ = linear_image(FAMILIES[family], shape=(384, 384), pixel=0.1, noise=noise, matrix=turn(degrees))
    name, chance = restore(micrograph.image, PIXEL).pattern
    assert name == family
    assert 0.4 < chance <= 1.0


@pytest.mark.parametrize("shape", [(40, 40), (61, 35), (100, 24)])
def test_resampling_there_and_back(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).normal(size=(32, 20))
    back = inference._resampled(inference._resampled(image, shape), image.shape)
    np.testing.assert_allclose(back, image, atol=1e-5)


def test_the_network_is_read_once() -> None:
    assert network() is network()
    assert not network().training


def test_tensors_go_to_the_device_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """On "meta" nothing is computed; a tensor left behind on the processor would be refused."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # does not know "meta"
    monkeypatch.setattr(torch, "bincount", lambda x, minlength: torch.zeros(minlength, device=x.device))  # nor this
    mixture = weights.load(inference.SHIPPED).to("meta")
    image, mask = torch.zeros(1, 1, 440, 160, device="meta"), torch.ones(1, 1, 440, 160, device="meta")
    with torch.inference_mode():
        answer = inference._tiled(mixture.experts[0], image, mask)
        opinion = mixture.gate(image, mask)
    assert answer.shape == (880, 320)
    assert answer.device.type == opinion.experts.device.type == "meta"


def test_a_gpu_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    plain = inference.network

    def here(folder: Any = inference.SHIPPED, device: str = "cpu") -> Any:
        asked.append(device)
        if device == "cuda":
            raise torch.OutOfMemoryError
        return plain(folder)

    monkeypatch.setattr(inference, "network", here)
    image = noisy()
    expected = restore(image, PIXEL)
    assert asked == ["cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = restore(image, PIXEL, device="auto")
    assert asked == ["cpu", "cuda", "cpu"]
    assert np.array_equal(found.image, expected.image)
    assert inference.FULL in found.note


def test_without_a_gpu_auto_is_the_processor() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert np.array_equal(restore(noisy(), PIXEL, device="auto").image, restore(noisy(), PIXEL).image)
