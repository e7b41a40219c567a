"""Invariants of the cell image. Boxes are narrow and grids coarse: what is tested is geometry, not convergence."""

import warnings

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from microscopy import supercell
from microscopy.errors import SimulationError
from microscopy.micrograph import Modality
from microscopy.multislice import cached_cell_images, cell_images
from microscopy.optics import Optics
from microscopy.slab import plane_cell, slab

COARSE = 0.2
SMALL_PROBE = 10.0
"""mrad: half the usual angle, a quarter of the probe positions."""


@pytest.fixture(autouse=True)
def narrow_window(monkeypatch):
    monkeypatch.setattr(supercell, "WINDOW", 8.0)


def monolayer(lattice, species, coords):
    return slab(Structure(lattice, species, coords))


@pytest.fixture(scope="module")
def tin_selenide():
    """1T-SnSe2; literature: a = 3.811 Å."""
    lattice = Lattice.hexagonal(3.811, 20)
    return monolayer(lattice, ["Sn", "Se", "Se"], [[0, 0, 0.5], [1 / 3, 2 / 3, 0.577], [2 / 3, 1 / 3, 0.423]])


@pytest.fixture(scope="module")
def points():
    return np.random.default_rng(0).uniform(-9, 9, (200, 2))


def deviation(first, second, image):
    """Root mean square difference relative to the contrast of ``image``."""
    return float(np.sqrt(np.mean((first - second) ** 2)) / image.fractions.std())


def test_agrees_with_abtem_on_its_own_ground():
    """A rectangular cell, atoms on grid points, abTEM's own potential, grid scan and detector."""
    import abtem
    from ase import Atoms

    cell = Lattice.orthorhombic(8.0, 9.0, 20.0)
    structure = monolayer(cell, ["Mo", "S"], [[0.25, 1 / 3, 0.5], [0.75, 2 / 3, 0.5]])
    optics = Optics(modality=Modality.ADF, convergence_angle=SMALL_PROBE, detector=(14.0, 50.0))
    image = cell_images(structure, optics, sampling=0.1)
    _, rows, columns = image.fractions.shape

    atoms = Atoms("MoS", positions=[(2, 3, 0.5), (6, 6, 0.5)], cell=[8, 9, 1], pbc=True)
    settings = {"device": "cpu", "fft": "numpy", "diagnostics.progress_bar": False}
    with abtem.config.set(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        potential = abtem.Potential(atoms, sampling=0.1, slice_thickness=1, projection="infinite")
        probe = abtem.Probe(energy=optics.beam_energy, semiangle_cutoff=optics.convergence_angle, defocus=0.5)
        scan = abtem.GridScan(start=(0, 0), end=(8, 9), gpts=(columns, rows), endpoint=False)
        ring = abtem.AnnularDetector(*optics.angles)
        expected = probe.scan(potential, scan=scan, detectors=ring, lazy=False).array.T
    assert expected.shape == (rows, columns)
    # abTEM's detector counts whole diffraction pixels, which moves the level; the contrast has to agree.
    contrast, reference = (x - x.mean() for x in (image.fractions[0], expected))
    assert np.corrcoef(contrast.ravel(), reference.ravel())[0, 1] > 0.999
    assert contrast.std() == pytest.approx(reference.std(), rel=0.05)


def test_translating_the_slab_translates_the_image(tin_selenide, points):
    shift = np.array([0.37, 0.81])
    moved = Structure(
        tin_selenide.lattice,
        tin_selenide.species,
        tin_selenide.cart_coords + np.append(shift, 0),
        coords_are_cartesian=True,
    )
    optics = Optics(convergence_angle=SMALL_PROBE)
    image, other = cell_images(tin_selenide, optics, 0.12), cell_images(moved, optics, 0.12)
    assert deviation(other.sample(points + shift), image.sample(points), image) < 0.01


def test_a_quarter_turn_turns_the_image_and_permutes_the_quadrants(points):
    lattice = Lattice.tetragonal(8.0, 20)
    sites = np.array([[1.0, 0.7, 10.0], [4.1, 2.9, 10.0]])
    turned = np.column_stack([-sites[:, 1], sites[:, 0], sites[:, 2]])
    image, other = (
        cell_images(slab(Structure(lattice, ["Mo", "S"], xyz, coords_are_cartesian=True)), Optics(), COARSE)
        for xyz in (sites, turned)
    )
    seen = other.sample(points @ np.array([[0, 1], [-1, 0]]))
    assert deviation(seen[[1, 2, 3, 0]], image.sample(points), image) < 1e-3


def test_turned_quadrants_rename_themselves(tin_selenide):
    straight = cell_images(tin_selenide, Optics(), COARSE)
    turned = cell_images(tin_selenide, Optics(), COARSE, detector_rotation=90)
    np.testing.assert_allclose(turned.fractions, straight.fractions[[1, 2, 3, 0]], atol=1e-6)


def test_the_choice_of_an_oblique_cell_does_not_matter(points):
    """No exactly rectangular supercell exists here, so the two descriptions are imaged in different boxes."""
    lattice = Lattice.from_parameters(3.3, 4.1, 20, 90, 90, 97)
    a, b, c = lattice.matrix
    frac = np.array([[0, 0, 0.5], [0.4, 0.45, 0.55]])
    first = monolayer(lattice, ["Sn", "S"], frac)
    second = monolayer(Lattice([a, b + a, c]), ["Sn", "S"], frac - frac[:, [1]] * [1, 0, 0])
    images = [cell_images(s, Optics(), 0.14) for s in (first, second)]
    assert deviation(images[0].sample(points), images[1].sample(points), images[0]) < 0.01


@pytest.mark.parametrize("noise", [0.0, 1e-9, -1e-9])
def test_no_atom_is_lost_or_moved_by_rounding_noise(tin_selenide, noise):
    """Relaxed hexagonal cells carry such noise; cutting a supercell with it has lost atoms (abTEM issue 345)."""
    matrix = tin_selenide.lattice.matrix.copy()
    matrix[1, 0] += noise
    coords = tin_selenide.frac_coords.copy()
    coords[0, :2] -= abs(noise)
    noisy = Structure(Lattice(matrix), tin_selenide.species, coords)
    cell = plane_cell(noisy)
    rows = supercell.rectangular(cell, "SnSe2")
    extent = np.linalg.norm(rows @ cell, axis=1)
    numbers, positions, _ = supercell.boxed(noisy, rows, extent)
    cells = round(abs(np.linalg.det(rows)))
    assert [np.count_nonzero(numbers == z) for z in (50, 34)] == [cells, 2 * cells]
    # Every atom of the perfect box, once.
    gaps = np.linalg.norm(positions[:, None, :2] - positions[None, :, :2], axis=-1) + 9 * np.eye(len(positions))
    assert gaps.min() > 2.0
    assert abs(np.dot(*(rows @ cell))) < 1e-6 * extent.prod()


def test_supercells_are_rectangular_for_every_lattice_that_allows_it():
    half = 0.5 * np.array([[4.0, 6.6], [-4.0, 6.6]])
    for cell in (np.diag([3.0, 4.4]), np.array([[2.46, 0], [-1.23, 2.13042]]), half, np.diag([25.0, 3.0])):
        rows = supercell.rectangular(cell, "test")
        a, b = rows @ cell
        assert abs(a @ b) < 1e-4 * np.linalg.norm(a) * np.linalg.norm(b)
        assert min(np.linalg.norm(a), np.linalg.norm(b)) >= 7.99
        assert np.linalg.det(rows) > 0


def test_high_angle_signal_grows_with_atomic_number():
    """The classical exponent of Z-contrast lies between 1.6 and 2 (Krivanek et al., Nature 464 (2010) 571)."""
    optics = Optics(modality=Modality.HAADF, convergence_angle=SMALL_PROBE, detector=(80.0, 120.0))
    elements = {"C": 6, "Si": 14, "Mo": 42, "W": 74}
    means = [
        cell_images(monolayer(Lattice.tetragonal(4.0, 20), [symbol], [[0.2, 0.1, 0.5]]), optics).fractions.mean()
        for symbol in elements
    ]
    exponent = np.polyfit(np.log(list(elements.values())), np.log(means), 1)[0]
    assert 1.6 < exponent < 2.0


def test_sampling_is_the_fourier_series(tin_selenide, points):
    image = cell_images(tin_selenide, Optics(), COARSE)
    _, rows, columns = image.fractions.shape
    j, i = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    grid = np.stack([i / columns, j / rows], axis=-1) @ image.cell
    np.testing.assert_allclose(image.sample(grid), image.fractions, atol=1e-6 * image.fractions.std())
    coefficients = np.fft.fft2(image.fractions) / (rows * columns)
    waves = np.exp(2j * np.pi * np.einsum("px,jix->pji", points, image.frequencies))
    exact = np.einsum("sji,pji->sp", coefficients, waves).real
    assert np.abs(image.sample(points) - exact).max() < 1e-5 * image.fractions.std()


def test_a_finite_source_damps_every_frequency_as_a_gaussian(tin_selenide):
    point = cell_images(tin_selenide, Optics(), COARSE)
    blurred = cell_images(tin_selenide, Optics(source_size=0.3), COARSE)
    ratio = np.fft.fft2(blurred.fractions)[:, 0, 1] / np.fft.fft2(point.fractions)[:, 0, 1]
    q = 1 / (3.811 * np.sqrt(3) / 2)
    np.testing.assert_allclose(ratio, np.exp(-2 * (np.pi * 0.3 * q) ** 2), rtol=1e-9)
    np.testing.assert_allclose(blurred.fractions.mean(axis=(1, 2)), point.fractions.mean(axis=(1, 2)))


def test_the_mid_plane_is_in_focus():
    """Two light atoms at different heights: a dark-field image is symmetric in defocus."""
    structure = monolayer(Lattice.tetragonal(4.0, 30), ["C", "C"], [[0.2, 0.1, 0.4], [0.7, 0.6, 0.6]])
    contrast = [
        cell_images(
            structure, Optics(modality=Modality.ADF, detector=(30.0, 50.0), defocus=defocus), COARSE
        ).fractions.std()
        for defocus in (-40.0, 0.0, 40.0)
    ]
    assert contrast[0] == pytest.approx(contrast[2], rel=0.02)
    assert contrast[1] > 1.5 * contrast[0]


def test_cache_returns_the_same_and_repairs_itself(tin_selenide, tmp_path):
    first = cached_cell_images(tin_selenide, Optics(), tmp_path, COARSE)
    (path,) = tmp_path.iterdir()
    stamp = path.stat().st_mtime_ns
    blurred = cached_cell_images(tin_selenide, Optics(source_size=0.2), tmp_path, COARSE)
    assert [p.stat().st_mtime_ns for p in tmp_path.iterdir()] == [stamp]
    np.testing.assert_array_equal(blurred.fractions, first.blurred(0.2).fractions)
    path.write_bytes(b"PK damaged")
    repaired = cached_cell_images(tin_selenide, Optics(), tmp_path, COARSE)
    np.testing.assert_array_equal(repaired.fractions, first.fractions)
    cached_cell_images(tin_selenide, Optics(convergence_angle=20), tmp_path, COARSE)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_cell_beyond_the_memory_bound_is_refused():
    structure = monolayer(Lattice.tetragonal(900.0, 20), ["C"], [[0, 0, 0.5]])
    with pytest.raises(SimulationError, match="points"):
        cell_images(structure, Optics())


@pytest.mark.filterwarnings("ignore:No Pauling electronegativity")
def test_elements_without_scattering_factors_are_refused():
    structure = monolayer(Lattice.tetragonal(4.0, 20), ["Rf"], [[0, 0, 0.5]])
    with pytest.raises(SimulationError, match="Rf"):
        cell_images(structure, Optics())
