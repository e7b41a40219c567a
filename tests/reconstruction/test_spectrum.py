import numpy as np
import pytest

from microscopy.errors import ReconstructionError
from microscopy.micrograph import Micrograph
from reconstruction.spectrum import spectrum, windowed


def noise_image(shape=(96, 131), pixel=(0.1, 0.13), seed=0, exponent=0.0):
    image = np.random.default_rng(seed).normal(size=shape)
    if exponent:
        gy, gx = np.fft.fftfreq(shape[0], pixel[0])[:, None], np.fft.rfftfreq(shape[1], pixel[1])[None]
        q = np.hypot(gx, gy)
        q[0, 0] = np.inf
        image = np.fft.irfft2(np.fft.rfft2(image) * q**-exponent, shape)
    return Micrograph(image.astype(np.float32), pixel, "", "noise")


@pytest.mark.parametrize("kind", ["tukey", "half", "blackman"])
def test_coefficients_equal_the_direct_sum(kind):
    micrograph = noise_image()
    view = windowed(micrograph, kind, 2.0)
    g = np.random.default_rng(1).uniform(-3, 3, size=(200, 2))
    y, x = (np.arange(n) * p for n, p in zip(view.image.shape, view.pixel_size, strict=True))
    waves = np.exp(-2j * np.pi * np.outer(g[:, 1], y)), np.exp(-2j * np.pi * np.outer(g[:, 0], x))
    direct = np.einsum("kh,hw,kw->k", waves[0], view.image, waves[1]) / view.weight
    assert np.abs(view.coefficients(g) - direct).max() < 1e-5 * np.abs(direct).max()


def test_derivatives_equal_finite_differences():
    micrograph = noise_image()
    view = windowed(micrograph, "blackman", 2.0)
    g, step = np.array([[0.4, -0.7]]), 1e-4

    def power(at):
        return np.abs(view.coefficients(at)) ** 2

    c, first, second = view.gradients(g)
    for axis in range(2):
        move = np.eye(2)[axis] * step
        slope = (power(g + move) - power(g - move)) / (2 * step)
        assert 2 * np.real(np.conj(c) * first[:, axis]) == pytest.approx(slope, rel=1e-3)
        bend = (power(g + move) - 2 * power(g) + power(g - move)) / step**2
        expected = 2 * np.real(np.conj(c) * second[:, axis, axis]) + 2 * np.abs(first[:, axis]) ** 2
        assert expected == pytest.approx(bend, rel=1e-2)


@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_noise_is_measured_at_every_frequency(exponent):
    ratios = []
    for seed in range(4):
        micrograph = noise_image((256, 310), (0.1, 0.1), seed, exponent)
        view = spectrum(micrograph, 2.0)
        angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, 3000)
        q = np.linspace(0.15, 1.9, 3000)
        power = np.abs(view.coefficients(np.column_stack([q * np.cos(angle), q * np.sin(angle)]))) ** 2
        ratios.append([(power / view.noise(q))[part].mean() for part in (q < 0.5, (q > 0.5) & (q < 1.2), q > 1.2)])
    assert np.mean(ratios, axis=0) == pytest.approx(1.0, abs=0.12)


def test_masked_pixels_do_not_count():
    micrograph = noise_image()
    mask = np.ones(micrograph.image.shape, dtype=bool)
    mask[20:30, 40:60] = False
    spoiled = micrograph.image.copy()
    spoiled[~mask] = 1e4
    g = np.array([[0.5, 0.2], [1.0, -0.4]])
    clean = spectrum(Micrograph(micrograph.image, (0.1, 0.13), "", "", mask=mask), 2.0)
    dirty = spectrum(Micrograph(spoiled, (0.1, 0.13), "", "", mask=mask), 2.0)
    assert dirty.coefficients(g) == pytest.approx(clean.coefficients(g), abs=1e-6)


def test_no_pixel_size_says_which_flag_to_give():
    with pytest.raises(ReconstructionError, match="--pixel-size"):
        spectrum(Micrograph(np.zeros((64, 64), np.float32), None, "", "a.png"), 2.0)


def test_only_the_middle_of_a_large_image_is_analysed(monkeypatch):
    monkeypatch.setattr("reconstruction.spectrum.MAX_SIDE", 64)
    micrograph = noise_image()
    view = spectrum(micrograph, 2.0)
    assert view.image.shape == (64, 64)
    # Phases still refer to the first pixel of the whole image.
    g = np.array([[0.5, 0.2], [1.0, -0.4]])
    y, x = 16 * 0.1 + np.arange(64) * 0.1, 33 * 0.13 + np.arange(64) * 0.13
    waves = np.exp(-2j * np.pi * np.outer(g[:, 1], y)), np.exp(-2j * np.pi * np.outer(g[:, 0], x))
    direct = np.einsum("kh,hw,kw->k", waves[0], view.image, waves[1]) / view.weight
    assert np.abs(view.coefficients(g) - direct).max() < 1e-5 * np.abs(direct).max()
