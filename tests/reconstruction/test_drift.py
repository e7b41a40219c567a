from dataclasses import replace

import numpy as np
import pytest
from images import graphene, linear_image, mos2, oblique, tin_sulfide, turn
from scipy import ndimage

from library.fingerprint import nodes
from microscopy.micrograph import Micrograph, Modality
from microscopy.scan import drifted
from reconstruction.drift import SIGNIFICANT, estimate_drift, straightened, undrifted
from reconstruction.lattice import find_lattice
from reconstruction.spectrum import spectrum

Q_MAX = 2.1
SHAPE, PIXEL = (320, 288), 0.14


def moved(structure, displacement, noise=1.0, seed=0, angle=17.0, jitter=0.0):
    """Image whose row y shows the crystal displaced by ``displacement[y]`` (x, y) Å, and its cell without."""
    clean, cell = linear_image(structure, shape=SHAPE, pixel=PIXEL, matrix=turn(angle), noise=0.0)
    rng = np.random.default_rng(seed)
    shift = displacement / PIXEL + np.column_stack([jitter / PIXEL * rng.standard_normal(SHAPE[0]), np.zeros(SHAPE[0])])
    row, column = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    position = [row - shift[:, 1:], column - shift[:, :1]]
    image = ndimage.map_coordinates(clean.image, position, order=5, mode="reflect")
    image = image + noise * clean.image.std() * rng.normal(size=SHAPE)
    return replace(clean, image=image.astype(np.float32)), cell


def curved(drift):
    """A settling drift (x, y) Å without its linear part, per row."""
    t = np.arange(SHAPE[0]) / SHAPE[0]
    line = np.polynomial.Polynomial.fit(t, drifted(t), 1)
    return np.outer(drifted(t) - line(t), drift)


def reflected(micrograph, lattice):
    """Power in all reflections; the significance is that of the strongest alone, in a window chosen by it."""
    g = nodes(lattice.vectors, Q_MAX, 0.0) @ np.linalg.inv(lattice.vectors).T
    return (np.abs(spectrum(micrograph, Q_MAX).coefficients(g)) ** 2).sum()


@pytest.mark.parametrize("structure", [graphene(), mos2(), tin_sulfide()], ids=["C", "MoS2", "SnS"])
@pytest.mark.parametrize("jitter", [0.0, 0.1])
def test_a_planted_drift_is_measured_within_its_error_and_taken_out(structure, jitter):
    truth = curved([4.0, -2.0])
    micrograph, cell = moved(structure, truth, jitter=jitter)
    lattice = find_lattice(micrograph, Q_MAX)
    straight, sharper, drift = undrifted(micrograph, lattice, Q_MAX)
    assert drift is not None
    assert drift.rms == pytest.approx(np.sqrt((truth**2).sum(axis=1).mean()), rel=0.2)
    rms = [np.sqrt((each**2).mean()) for each in (drift.displacement - truth, drift.standard_error)]
    assert rms[0] < 2.5 * rms[1]
    assert np.abs(drift.displacement - truth).max() < 0.06
    assert reflected(straight, sharper) > 1.1 * reflected(micrograph, lattice)
    matrix = cell @ np.linalg.inv(sharper.vectors)
    assert np.abs(matrix - np.round(matrix)).max() < 5e-3
    assert "drift" in straight.notices[-1]
    if jitter:
        assert drift.line_jitter == pytest.approx(jitter, abs=3 * drift.line_jitter_error)
    else:
        assert drift.line_jitter < 3 * drift.line_jitter_error


def test_a_constant_velocity_belongs_to_the_lattice():
    t = np.linspace(-0.5, 0.5, SHAPE[0])
    micrograph, _ = moved(mos2(), np.outer(t, [2.0, -1.0]))
    assert undrifted(micrograph, find_lattice(micrograph, Q_MAX), Q_MAX)[2] is None


@pytest.mark.parametrize(
    "structure", [graphene(), mos2(), tin_sulfide(), oblique()], ids=["C", "MoS2", "SnS", "PdSeCl"]
)
@pytest.mark.parametrize(("angle", "noise"), [(0.0, 0.2), (0.0, 3.0), (24.0, 1.0), (24.0, 6.0)])
@pytest.mark.parametrize("seed", range(3))
def test_an_image_without_drift_is_left_alone(structure, angle, noise, seed):
    micrograph, _ = linear_image(structure, shape=(288, 256), matrix=turn(angle), noise=noise, seed=seed)
    lattice = find_lattice(micrograph, Q_MAX)
    assert lattice is not None
    same, as_found, drift = undrifted(micrograph, lattice, Q_MAX)
    assert (same, drift) == (micrograph, None)
    assert np.array_equal(as_found.vectors, lattice.vectors)
    assert estimate_drift(micrograph, lattice, Q_MAX).significance < SIGNIFICANT


def test_grains_above_each_other_are_no_drift():
    micrograph, _ = linear_image(mos2(), shape=SHAPE, pixel=PIXEL, matrix=turn(3))
    other, _ = linear_image(mos2(), shape=SHAPE, pixel=PIXEL, matrix=turn(15))
    image = np.vstack([micrograph.image[:160], other.image[160:]])
    micrograph = replace(micrograph, image=image)
    assert undrifted(micrograph, find_lattice(micrograph, Q_MAX), Q_MAX)[0] is micrograph


def test_line_jitter_widens_the_errors_of_the_lattice():
    deviations = []
    for seed in range(8):
        micrograph, cell = moved(tin_sulfide(), np.zeros((SHAPE[0], 2)), seed=seed, jitter=0.2, angle=11.0 * seed)
        lattice = find_lattice(micrograph, Q_MAX)
        _, widened, _ = undrifted(micrograph, lattice, Q_MAX)
        assert (widened.standard_errors >= lattice.standard_errors).all()
        matrix = np.round(cell @ np.linalg.inv(widened.vectors))
        deviations.append((np.linalg.solve(matrix, cell) - widened.vectors) / widened.standard_errors)
    assert 0.5 < np.sqrt(np.mean(np.square(deviations))) < 1.6


def test_pixels_that_were_not_seen_are_masked():
    truth = curved([6.0, 0.0])
    micrograph, _ = moved(mos2(), truth, noise=0.1)
    mask = np.ones(SHAPE, dtype=bool)
    mask[100:110, 50:60] = False
    micrograph = replace(micrograph, mask=mask)
    drift = estimate_drift(micrograph, find_lattice(micrograph, Q_MAX), Q_MAX)
    straight = straightened(micrograph, drift)
    assert straight.mask is not None
    assert not straight.mask[104, 54]
    assert not straight.mask[0].all()
    assert straight.mask.mean() > 0.95
    assert micrograph.notices == ()


def test_too_little_of_a_lattice_has_no_drift():
    image = np.random.default_rng(1).normal(size=(128, 128)).astype(np.float32)
    noise = Micrograph(image, (0.1, 0.1), "", "noise", Modality.HAADF)
    lattice = find_lattice(linear_image(mos2())[0], Q_MAX)
    assert undrifted(noise, lattice, Q_MAX)[2] is None
