from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from microscopy.errors import DenoiseError
from microscopy.micrograph import Micrograph
from models.denoising import EXPERTS, DenoiseOptions, denoise, digest
from models.denoising.experts import filtered
from models.denoising.spectrum import spectrum
from models.divaesr import manifest, weights
from models.divaesr.configuration import KINDS, SMALL
from models.divaesr.mixture import Mixture

SHAPE = (160, 224)
CELL = 21.3, 17.9, 97.0  # pixels, pixels, degrees: incommensurate with the frame


def lattice(shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Gaussian blobs on an oblique lattice, a second fainter one in each cell."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    turn = np.deg2rad([12.0, 12.0 + CELL[2]])
    cell = np.array([CELL[:2] * np.cos(turn), CELL[:2] * np.sin(turn)]).T
    fractional = np.stack([x, y], axis=-1) @ np.linalg.inv(cell)
    image = np.zeros(shape)
    for site, height in (((0.0, 0.0), 1.0), ((0.4, 0.6), 0.5)):
        nearest = (fractional - site + 0.5) % 1.0 - 0.5
        for i in (-1, 0, 1):
            for j in (-1, 0, 1):
                offset = (nearest + np.array([i, j])) @ cell
                image += height * np.exp(-(offset**2).sum(axis=-1) / (2 * 3.5**2))
    return image


def integrated_noise(rng: np.random.Generator, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Noise of power 1/q², as integration of the detector signal leaves it, of unit variance."""
    q = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    q[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=shape)) / q, s=shape)
    return noise / noise.std()


def micrograph(image: np.ndarray, mask: np.ndarray | None = None, pixel: float | None = 0.1) -> Micrograph:
    size = None if pixel is None else (pixel, pixel)
    return Micrograph(image.astype(np.float32), size, "0" * 64, "test.tif", mask=mask)


CLASSICAL = DenoiseOptions("classical")


def error(image: np.ndarray, truth: np.ndarray) -> float:
    """Mean squared error, the mean left out: an image's offset is arbitrary."""
    difference = image - truth
    return float(np.var(difference))


def noisy(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Truth and noisy image."""
    rng, truth = np.random.default_rng(7), lattice()
    match kind:
        case "poisson":
            return truth, rng.poisson(2.0 * (truth + 0.2)) / 2.0 - 0.2
        case "white":
            return truth, truth + rng.normal(size=SHAPE) * 1.5 * truth.std()
        case _:
            return truth, truth + integrated_noise(rng) * 1.5 * truth.std()


@pytest.mark.parametrize("kind", ["poisson", "white", "coloured"])
@pytest.mark.parametrize(("expert", "gain"), [("auto", 8.0), ("classical", 8.0), ("bragg", 6.0), ("wiener", 8.0)])
def test_lattice_gains_decibels(kind: str, expert: str, gain: float) -> None:
    truth, image = noisy(kind)
    result = denoise(micrograph(image), DenoiseOptions(expert))
    assert 10 * np.log10(error(image, truth) / error(result.image, truth)) > gain


@pytest.mark.parametrize("expert", ["gaussian", "nlm", "tv"])
def test_local_filters_gain_on_white_noise(expert: str) -> None:
    truth, image = noisy("white")
    result = denoise(micrograph(image), DenoiseOptions(expert))
    assert 10 * np.log10(error(image, truth) / error(result.image, truth)) > 5.0


@pytest.mark.parametrize("kind", ["white", "coloured"])
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("expert", ["classical", "bragg"])
def test_noise_stays_without_a_lattice(kind: str, seed: int, expert: str) -> None:
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=SHAPE) if kind == "white" else integrated_noise(rng)
    assert not spectrum(noise).reflections.any()
    image = denoise(micrograph(noise), DenoiseOptions(expert)).image.astype(float)
    image -= image.mean()
    if image.std() < 1e-6:
        return  # flat: nothing periodic
    # High-passed, or the slow background correlates with itself everywhere.
    coefficients = np.fft.rfft2(image)
    q = np.hypot(np.fft.fftfreq(SHAPE[0])[:, None], np.fft.rfftfreq(SHAPE[1]))
    correlation = np.fft.irfft2(np.abs(coefficients * (q > 0.03)) ** 2, s=SHAPE)
    correlation /= correlation[0, 0]
    lag = np.hypot(np.fft.fftfreq(SHAPE[0], 1 / SHAPE[0])[:, None], np.fft.fftfreq(SHAPE[1], 1 / SHAPE[1]))
    assert correlation[lag > 30].max() < 0.25


def test_autocorrelation_of_a_denoised_lattice_is_periodic() -> None:
    """The counterpart: the statistic of the test above does see a lattice."""
    image = denoise(micrograph(noisy("white")[1]), CLASSICAL).image.astype(float)
    coefficients = np.fft.rfft2(image - image.mean())
    correlation = np.fft.irfft2(np.abs(coefficients) ** 2, s=SHAPE)
    lag = np.hypot(np.fft.fftfreq(SHAPE[0], 1 / SHAPE[0])[:, None], np.fft.fftfreq(SHAPE[1], 1 / SHAPE[1]))
    assert correlation[lag > 30].max() > 0.6 * correlation[0, 0]


@pytest.mark.parametrize("kind", ["white", "coloured"])
def test_noise_level_is_measured(kind: str) -> None:
    truth, image = noisy(kind)
    assert denoise(micrograph(image)).noise == pytest.approx(np.std(image - truth), rel=0.2)


@pytest.mark.parametrize("expert", ["auto", "classical", "moe:phase-low", "moe:incoherent-high", *EXPERTS])
def test_result_scales_with_the_unit_and_keeps_the_input(expert: str) -> None:
    image = noisy("poisson")[1].astype(np.float32)
    before = image.copy()
    options = DenoiseOptions(expert)
    one = denoise(micrograph(image), options)
    other = denoise(micrograph(image * np.float32(1e-9) + np.float32(1e-8)), options)
    np.testing.assert_array_equal(image, before)
    assert one.image.shape == image.shape
    assert one.image.dtype == np.float32
    assert sum(one.weights.values()) == pytest.approx(1.0)
    assert other.noise == pytest.approx(one.noise * 1e-9, rel=1e-3)
    np.testing.assert_allclose((other.image - 1e-8) / 1e-9, one.image, atol=0.05 * float(image.std()))


def test_weights_of_the_blend_follow_the_image() -> None:
    rng = np.random.default_rng(3)
    with_lattice = denoise(micrograph(noisy("white")[1]), CLASSICAL).weights
    without = denoise(micrograph(rng.normal(size=SHAPE)), CLASSICAL).weights
    assert with_lattice["bragg"] + with_lattice["wiener"] > 0.5
    assert set(without) == {"gaussian"}


@pytest.mark.parametrize("expert", ["auto", "classical"])
def test_masked_pixels_are_not_believed(expert: str) -> None:
    truth, image = noisy("white")
    mask = np.ones(SHAPE, dtype=bool)
    mask[40:70, 90:120] = False
    spoiled = image.copy()
    spoiled[~mask] = 1e4
    result = denoise(micrograph(spoiled, mask), DenoiseOptions(expert)).image
    assert error(result[mask], truth[mask]) < 0.2 * error(image[mask], truth[mask])
    # Inside the hole the filter continues the lattice.
    assert np.corrcoef(result[~mask], truth[~mask])[0, 1] > 0.9


def test_all_pass_filter_is_the_identity() -> None:
    image = noisy("poisson")[1].astype(np.float32)
    gain = np.ones((SHAPE[0], SHAPE[1] // 2 + 1))
    np.testing.assert_allclose(filtered(image, gain), image, atol=1e-5)


def test_strength_smooths_more() -> None:
    image = noisy("white")[1]
    rough = [
        float(np.var(np.diff(denoise(micrograph(image), DenoiseOptions("gaussian", s)).image))) for s in (0.5, 1, 2)
    ]
    assert rough == sorted(rough, reverse=True)


def test_constant_image_is_returned() -> None:
    result = denoise(micrograph(np.full(SHAPE, 3.0)))
    np.testing.assert_array_equal(result.image, 3.0)
    assert result.noise == 0.0


def test_unknown_expert_lists_the_choices() -> None:
    with pytest.raises(DenoiseError, match=r"'bm3d' is unknown.*auto, classical, raw, .*bragg, moe, moe:phase-low"):
        denoise(micrograph(lattice()), DenoiseOptions("bm3d"))


@pytest.mark.parametrize("strength", [0.0, -1.0, float("nan")])
def test_strength_must_be_positive(strength: float) -> None:
    with pytest.raises(DenoiseError, match="strength"):
        denoise(micrograph(lattice()), DenoiseOptions("auto", strength))


def test_images_that_cannot_be_denoised_are_refused() -> None:
    with pytest.raises(DenoiseError, match="too small"):
        denoise(micrograph(np.zeros((15, 300))))
    with pytest.raises(DenoiseError, match="every pixel is masked"):
        denoise(micrograph(lattice(), np.zeros(SHAPE, dtype=bool)))
    with pytest.raises(DenoiseError, match="NaN"):
        denoise(micrograph(np.full(SHAPE, np.nan)))


@pytest.mark.parametrize("expert", ["moe", "classical"])
def test_smallest_image_is_processed(expert: str) -> None:
    noise = np.random.default_rng(1).normal(size=(16, 19))
    result = denoise(micrograph(noise), DenoiseOptions(expert)).image
    assert result.shape == (16, 19)
    assert np.isfinite(result).all()


def test_digest_names_the_expert() -> None:
    assert digest(DenoiseOptions("tv")) != digest(DenoiseOptions("nlm"))


def test_digest_names_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = digest(DenoiseOptions("moe"))
    classical = digest(DenoiseOptions("tv"))
    monkeypatch.setattr(manifest, "digest", lambda folder: "f" * 64)
    assert digest(DenoiseOptions("moe")) != shipped
    assert digest(DenoiseOptions("tv")) == classical


@pytest.mark.parametrize("expert", ["auto", "classical"])
def test_same_image_gives_the_same_bits(expert: str) -> None:
    image = micrograph(noisy("poisson")[1])
    one, other = (denoise(image, DenoiseOptions(expert)) for _ in range(2))
    np.testing.assert_array_equal(one.image, other.image)
    assert one.weights == other.weights


def test_auto_is_the_trained_mixture_where_it_was_trained() -> None:
    image = micrograph(noisy("white")[1])
    auto, trained = denoise(image), denoise(image, DenoiseOptions("moe"))
    np.testing.assert_array_equal(auto.image, trained.image)
    assert auto.note == ""
    assert set(auto.weights) <= set(KINDS)
    assert auto.level is not None
    assert auto.uncertainty is not None
    assert auto.uncertainty.shape == SHAPE


@pytest.mark.parametrize("kind", KINDS)
def test_one_trained_expert_can_be_asked_alone(kind: str) -> None:
    assert denoise(micrograph(noisy("white")[1]), DenoiseOptions(f"moe:{kind}")).weights == {kind: 1.0}


@pytest.mark.parametrize(
    ("pixel", "words"), [(None, "needs the pixel size"), (0.5, r"lies outside"), (0.01, r"lies outside")]
)
def test_auto_is_classical_and_says_so_without_a_trained_pixel_size(pixel: float | None, words: str) -> None:
    image = micrograph(noisy("white")[1], pixel=pixel)
    auto, classical = denoise(image), denoise(image, CLASSICAL)
    np.testing.assert_array_equal(auto.image, classical.image)
    assert words in auto.note
    assert classical.note == ""


def test_mixture_needs_a_pixel_size() -> None:
    with pytest.raises(DenoiseError, match=r"test\.tif: .*needs the pixel size"):
        denoise(micrograph(lattice(), pixel=None), DenoiseOptions("moe"))


def test_mixture_notes_a_pixel_size_it_was_not_trained_for() -> None:
    result = denoise(micrograph(noisy("white")[1], pixel=0.3), DenoiseOptions("moe"))
    assert "0.3 × 0.3 Å lies outside 0.04 to 0.22 Å" in result.note
    assert set(result.weights) <= set(KINDS)


@pytest.fixture
def _no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(manifest, "SHIPPED", tmp_path)


@pytest.mark.usefixtures("_no_weights")
def test_auto_is_classical_and_says_so_without_weights() -> None:
    image = micrograph(noisy("white")[1])
    result = denoise(image)
    np.testing.assert_array_equal(result.image, denoise(image, CLASSICAL).image)
    assert "no denoiser weights here" in result.note
    assert result.digest.startswith("classical/")


@pytest.mark.usefixtures("_no_weights")
@pytest.mark.parametrize("expert", ["moe", "moe:phase-low"])
def test_trained_denoisers_need_their_weights(expert: str) -> None:
    with pytest.raises(DenoiseError, match="no denoiser weights here"):
        denoise(micrograph(lattice()), DenoiseOptions(expert))
    with pytest.raises(DenoiseError, match="no denoiser weights here"):
        digest(DenoiseOptions(expert))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Weights that somebody else trained; hardly."""
    torch.manual_seed(0)
    weights.save(Mixture(SMALL), tmp_path / "own", {})
    return tmp_path / "own"


@pytest.mark.parametrize("expert", ["auto", "moe", "moe:phase-low"])
def test_weights_of_ones_own_are_used_and_named(own: Path, expert: str) -> None:
    image = micrograph(noisy("white")[1])
    shipped, options = denoise(image, DenoiseOptions(expert)), DenoiseOptions(expert, weights=own)
    result = denoise(image, options)
    assert set(result.weights) <= set(KINDS)
    assert not np.array_equal(result.image, shipped.image)
    assert result.digest == digest(options) != shipped.digest
    assert manifest.digest(own)[:12] in result.digest


def test_weights_that_were_trained_on_are_read_anew(own: Path) -> None:
    image, options = micrograph(noisy("white")[1]), DenoiseOptions("moe", weights=own)
    before = denoise(image, options)
    weights.save(Mixture(SMALL), own, {})
    after = denoise(image, options)
    assert after.digest != before.digest
    assert (after.weights, after.level) != (before.weights, before.level)


@pytest.mark.parametrize("expert", ["auto", "moe"])
def test_nothing_takes_the_place_of_weights_that_were_asked_for(own: Path, expert: str) -> None:
    missing = DenoiseOptions(expert, weights=own / "nowhere")
    for ask in (digest, lambda options: denoise(micrograph(lattice()), options)):
        with pytest.raises(DenoiseError, match="nowhere: no denoiser weights here"):
            ask(missing)
    (own / "gate.safetensors").write_bytes(b"cut")
    with pytest.raises(DenoiseError, match=r"gate\.safetensors: damaged"):
        denoise(micrograph(lattice()), replace(missing, weights=own))
