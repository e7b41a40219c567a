from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from benchmarks.denoiser.invention import SURROGATES, alarm, judged, local_spot, spot, surrogate, tables, vacuum
from microscopy.micrograph import Micrograph, Modality

Y, X = np.mgrid[:256, :256]
FRINGES = np.cos(2 * np.pi * (0.11 * X + 0.07 * Y))


def noise(seed: int, width: float = 0.0) -> np.ndarray:
    image = gaussian_filter(np.random.default_rng(seed).normal(size=(256, 256)), width)
    return image / image.std()


@pytest.mark.parametrize("statistic", [spot, local_spot])
@pytest.mark.parametrize("width", [0.0, 1.0, 3.0])
def test_noise_looks_like_its_surrogates(statistic, width) -> None:
    """So that filters of any strength raise no more alarms than chance."""
    rng = np.random.default_rng(0)
    fields = [noise(seed, width) for seed in range(10)]
    observed = np.mean([statistic(each) for each in fields])
    expected = np.mean([statistic(surrogate(each, rng)) for each in fields])
    assert observed == pytest.approx(expected, abs=2.5)


def test_filters_that_are_not_isotropic_raise_no_alarm() -> None:
    rng = np.random.default_rng(1)
    alarms = [alarm(spot, gaussian_filter(noise(seed), (0.5, 2.5)), rng) for seed in range(6)]
    assert sum(alarms) <= 1


@pytest.mark.parametrize("statistic", [spot, local_spot])
def test_a_faint_lattice_is_an_alarm(statistic) -> None:
    """A tenth of the variance of the noise, invisible in any row of pixels."""
    image = noise(0, 1.0) + 0.45 * FRINGES
    assert alarm(statistic, image, np.random.default_rng(2))


def test_a_local_lattice_shows_locally() -> None:
    """A lattice in a quarter of the image, of many orientations over images."""
    image = noise(3, 1.0)
    image[:128, :128] += 0.8 * FRINGES[:128, :128]
    assert alarm(local_spot, image, np.random.default_rng(4))


def test_units_do_not_matter() -> None:
    image = noise(5) + FRINGES
    assert spot(1e-9 * image + 3) == pytest.approx(spot(image), rel=0.01)


def test_a_flat_image_has_no_lattice(monkeypatch) -> None:
    flat = Micrograph(np.zeros((256, 256), np.float32), (0.1, 0.1), "", "flat")
    monkeypatch.setattr("benchmarks.denoiser.invention.restored", lambda micrograph, name: flat)
    row = judged(Micrograph(noise(6).astype(np.float32), (0.1, 0.1), "", "noise"), "any", 0)
    assert [row[each] for each in ("whole", "local", "found")] == [False] * 3


def test_the_noise_of_a_vacuum_falls_with_the_square_of_frequency() -> None:
    image = vacuum(1e4, np.random.default_rng(0))
    power = np.abs(np.fft.fft2((image - image.mean()) * np.hanning(512)[:, None] * np.hanning(512))) ** 2
    q = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.fftfreq(512)) * 512
    inner, outer = (power[(q > a) & (q < b)].mean() for a, b in ((28, 32), (112, 128)))
    assert inner / outer == pytest.approx(16, rel=0.15)


def test_the_table_states_the_rate() -> None:
    row = {"kind": "k", "by": "b", "left": 0.1, "whole": True, "local": False, "found": False, "problem": ""}
    assert tables([row, {**row, "whole": False}])[0].cells[0][4].startswith("50.0 %")
    assert str(SURROGATES) in tables([row])[0].note
    assert Modality.IDPC == "iDPC"
