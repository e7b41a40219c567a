import numpy as np
import pytest
from images import graphene, mos2, mos2_1t

from library.fingerprint import nodes
from microscopy.detector import phase_gradient
from microscopy.linear import plane_waves, projected_scattering, scattering, structure_factors, transfer
from microscopy.micrograph import Modality
from microscopy.multislice import cell_images
from microscopy.optics import Optics
from microscopy.slab import plane_cell


def along_x(q):
    return np.column_stack([q, np.zeros_like(q)])


def test_wavelength_of_300_kv():
    # Williams and Carter, Transmission Electron Microscopy (2009), table 1.2.
    assert Optics(beam_energy=300e3).wavelength == pytest.approx(0.0196875, rel=1e-4)


@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize("rotation", [None, 0.0, 31.0])
def test_transfer_is_bounded_and_ends_at_the_cutoff(modality, rotation):
    optics = Optics(modality)
    q = np.linspace(0.02, 1.2 * optics.cutoff, 40)
    values = transfer(along_x(q), optics, rotation)
    assert np.all(values >= -1e-9)
    assert np.all(values <= 1 + 1e-9)
    assert np.all(values[q > optics.cutoff] == 0)
    assert values[0] > 0.9


def test_incoherent_transfer_is_the_aperture_autocorrelation():
    # Half the cut-off: overlap of two unit discs one radius apart, (2π/3 − √3/2) / π.
    optics = Optics(Modality.HAADF)
    value = transfer(along_x(np.array([optics.cutoff / 2])), optics)
    assert value[0] == pytest.approx((2 * np.pi / 3 - np.sqrt(3) / 2) / np.pi, abs=1e-9)


def test_quadrant_transfer_has_the_symmetry_of_the_detector():
    optics = Optics(Modality.IDPC)
    g = np.array([[0.8, 0.3]])
    assert transfer(g, optics, 10.0) == pytest.approx(transfer(g, optics, 100.0))
    turned = g @ np.array([[0, 1], [-1, 0]])
    assert transfer(g, optics, 0.0) == pytest.approx(transfer(turned, optics, 0.0))
    assert abs(transfer(g, optics, 0.0) - transfer(g, optics, 45.0))[0] > 0.01


def test_scattering_factors_follow_the_mott_bethe_relation():
    # At large q the electrons no longer screen the nucleus: f q² → Z / (2 π² a0) for q = |G| (Kirkland 2010, C.1).
    q = np.array([6.0])
    bohr = 0.529177
    for number in (6, 16, 42):
        limit = number / (2 * np.pi**2 * bohr * q**2)
        assert scattering(np.array([number]), q, Modality.IDPC)[0] == pytest.approx(limit, rel=0.2)


@pytest.mark.parametrize("indices", [nodes(plane_cell(mos2())), np.array([[2, -3]]), np.zeros((0, 2), dtype=int)])
def test_plane_waves_are_exponentials(indices):
    frac = np.array([[0.1, 0.7], [-1.3, 0.25], [0.0, 2.0]])
    assert np.allclose(plane_waves(frac, indices), np.exp(-2j * np.pi * frac @ indices.T), atol=1e-12)


def test_a_supercell_adds_no_power():
    single = mos2()
    double = single.copy()
    double.make_supercell([[2, 0, 0], [1, 3, 0], [0, 0, 1]])
    indices = nodes(plane_cell(double))
    power = np.abs(structure_factors(double, indices, Optics())) ** 2
    g = indices @ np.linalg.inv(plane_cell(double)).T
    order = g @ plane_cell(single).T
    own = np.abs(order - np.round(order)).max(axis=1) < 1e-6
    assert power[~own].max() < 1e-12 * power.max()
    expected = np.abs(structure_factors(single, np.round(order[own]).astype(int), Optics())) ** 2
    assert power[own] == pytest.approx(expected, rel=1e-6)


def test_a_shift_turns_phases_only():
    structure = mos2()
    indices = nodes(plane_cell(structure))
    before = projected_scattering(structure, indices, Modality.HAADF)
    structure.translate_sites(range(3), [0.21, -0.4, 0.0])
    after = projected_scattering(structure, indices, Modality.HAADF)
    assert after == pytest.approx(before * np.exp(-2j * np.pi * indices @ [0.21, -0.4]))


@pytest.mark.parametrize("structure", [graphene(), mos2_1t()], ids=["graphene", "1T-MoS2"])
def test_the_linear_model_agrees_with_multislice(structure):
    optics = Optics(Modality.IDPC)
    image = cell_images(structure, optics)
    gradient = [np.fft.fft2(part) / part.size for part in phase_gradient(image.fractions, optics)]
    indices = nodes(image.cell, 1.9)
    g = indices @ np.linalg.inv(image.cell).T
    picked = [part[indices[:, 1] % part.shape[0], indices[:, 0] % part.shape[1]] for part in gradient]
    measured = (g[:, 0] * picked[0] + g[:, 1] * picked[1]) / (2j * np.pi * (g**2).sum(axis=1))
    # The quadrants lie along the axes of the slab.
    model = projected_scattering(structure, indices, Modality.IDPC) * transfer(g, optics, 0.0)
    overlap = np.vdot(model, measured)
    likeness = overlap.real / np.sqrt(np.vdot(model, model).real * np.vdot(measured, measured).real)
    assert likeness > 0.9985
