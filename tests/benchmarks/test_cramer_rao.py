"""The bound: reached by maximum likelihood, and blind to how a crystal is described."""

from dataclasses import replace

import numpy as np
import pytest
from monolayers import MONOLAYERS, layer
from strategies import supercell

from benchmarks.cramer_rao import coefficients, monte_carlo, noise_variance, position_bound
from benchmarks.materials import BenchmarkError
from library.fingerprint import nodes
from microscopy.detector import phase_gradient
from microscopy.integration import integrate_dpc
from microscopy.micrograph import Modality
from microscopy.multislice import cell_images
from microscopy.optics import Optics
from microscopy.simulation import SimulationOptions, simulate
from microscopy.slab import plane_cell

PROBE = 12.0
"""mrad: a third of the probe positions of the usual angle; atoms 2 Å apart stay resolved."""

OPTICS = Optics(convergence_angle=PROBE, detector=(2.0, 12.4))


@pytest.fixture(scope="module")
def structure():
    """Two columns of unequal weight in a rectangle."""
    return layer(3.1, 4.6, 90, [("Mo", 0.0, 0.0, 0), ("S", 0.5, 0.42, 0)])


@pytest.fixture(scope="module")
def cell(structure):
    return cell_images(structure, OPTICS)


def test_maximum_likelihood_reaches_the_bound(cell, structure):
    """800 errors: their root mean square is known to 2.5 %, so that 10 % is four standard deviations."""
    error, bound = monte_carlo(cell, structure, 1e4, (3, 2), 200)
    assert error == pytest.approx(bound, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["graphene", "MoS2 1H", "SnS"])
def test_maximum_likelihood_reaches_the_bound_of_real_monolayers(name):
    """At least 6,000 errors: 1 % each way; 4 % leaves room for the linear model's share of the amplitude."""
    structure = MONOLAYERS[name][0]
    error, bound = monte_carlo(cell_images(structure, Optics()), structure, 1e4, (3, 2), 1500)
    assert error == pytest.approx(bound, rel=0.04)


def test_dark_field_is_refused(structure):
    dark = cell_images(structure, Optics(modality=Modality.ADF, convergence_angle=PROBE, detector=(30.0, 60.0)))
    with pytest.raises(BenchmarkError, match="iDPC"):
        position_bound(dark, structure, 1e4, 400.0)


def test_noise_of_the_recorded_image_is_as_predicted(structure, cell):
    """Counted, integrated and transformed by the simulation itself, away from the nodes and from the lowest q."""
    shape, size, dose = (220, 270), 0.15, 1e4
    options = SimulationOptions(optics=OPTICS, shape=shape, pixel_size=(size, size), origin=(0.0, 0.0))
    clean = simulate(structure, options).micrograph.image
    window = np.outer(np.hanning(shape[0]), np.hanning(shape[1]))
    q = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, size) for n in shape), indexing="ij"))
    ring = (q > 0.6) & (q < 1.0)
    predicted = noise_variance(cell, q[ring], dose, shape[0] * shape[1] * size**2)
    ratios = []
    for seed in range(6):
        noisy = simulate(structure, replace(options, dose=dose, seed=seed)).micrograph.image
        power = np.abs(np.fft.fft2((noisy - clean) * window)) ** 2 / (np.sum(window**2) * window.size)
        ratios.append(float(np.mean(power[ring] / predicted)))
    # 1,300 independent coefficients in each ring, halved by the window: 1.5 % for the mean of six.
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.06)


def test_coefficients_are_those_of_the_integrated_image(cell):
    """Whole cells on a fine grid, integrated with free edges: the nodes of the middle agree."""
    indices = nodes(cell.cell, 1.0, 0.0)
    fine = 32
    frac = np.stack(np.meshgrid(np.arange(fine) / fine, np.arange(fine) / fine), axis=-1)
    fractions = cell.sample(frac @ cell.cell)
    gx, gy = (np.tile(each, (6, 6)) for each in phase_gradient(fractions, cell.optics))
    step = np.diag(cell.cell) / fine
    image, _ = integrate_dpc(gy, gx, (step[1], step[0]))
    middle = image[2 * fine : 4 * fine, 2 * fine : 4 * fine]
    spectrum = np.fft.fft2(middle) / middle.size
    found = spectrum[2 * indices[:, 1], 2 * indices[:, 0]]
    expected = coefficients(cell.fractions, indices, cell)
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_more_electrons_help_as_their_root(cell, structure):
    base = position_bound(cell, structure, 1e4, 400.0)
    assert position_bound(cell, structure, 4e4, 400.0).rmsd == pytest.approx(base.rmsd / 2)
    assert position_bound(cell, structure, 1e4, 1600.0).rmsd == pytest.approx(base.rmsd / 2)
    assert position_bound(cell, structure, 4e4, 400.0).sites == pytest.approx(base.sites / 2)


def test_the_heavier_atom_is_located_better(cell, structure):
    heavy, light = position_bound(cell, structure, 1e4, 400.0).sites
    assert heavy < 0.6 * light


@pytest.mark.parametrize("rows", [[[1, 0], [1, 1]], [[0, 1], [-1, 0]]])
def test_another_choice_of_the_cell_has_the_same_bound(cell, structure, rows):
    base = position_bound(cell, structure, 1e4, 400.0).rmsd
    other = supercell(structure, rows)
    assert position_bound(cell_images(other, OPTICS), other, 1e4, 400.0).rmsd == pytest.approx(base, rel=0.02)


def test_a_supercell_has_more_unknowns_for_the_same_electrons(cell, structure):
    double = supercell(structure, [[2, 0], [0, 1]])
    single = position_bound(cell, structure, 1e4, 400.0)
    both = position_bound(cell_images(double, OPTICS), double, 1e4, 400.0)
    assert both.sites.max() == pytest.approx(np.sqrt(2) * single.sites.max(), rel=0.05)


def test_sites_on_top_of_one_another_are_one_column():
    stacked = MONOLAYERS["MoS2 1H"][0]
    bound = position_bound(cell_images(stacked, OPTICS), stacked, 1e4, 400.0)
    assert bound.sites[1] == bound.sites[2]
    assert np.isfinite(bound.rmsd)
    assert len(plane_cell(stacked)) == 2


def test_a_crystal_of_one_column_has_no_relative_position():
    single = layer(2.6, 2.6, 120, [("Cu", 0, 0, 0)])
    assert position_bound(cell_images(single, OPTICS), single, 1e4, 400.0).rmsd == pytest.approx(0.0, abs=1e-9)
