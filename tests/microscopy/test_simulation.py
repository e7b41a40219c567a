import json
from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from scipy.optimize import curve_fit

from microscopy.artefacts import ARTEFACTS
from microscopy.errors import SimulationError
from microscopy.micrograph import Modality
from microscopy.multislice import CellImage, cached_cell_images
from microscopy.optics import Optics
from microscopy.recording import recorded
from microscopy.scan import View, orthogonal_part
from microscopy.simulation import SimulationOptions, Truth, simulate, simulate_to_file
from microscopy.slab import slab
from microscopy.structures import load_structure

FRAME = SimulationOptions(shape=(90, 140), pixel_size=(0.16, 0.12), rotation=23.0, origin=(3.1, 2.2))
"""A small field of view: neither square nor of square pixels."""
SMALL_PROBE = 12.0


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return tmp_path_factory.mktemp("cells")


@pytest.fixture(scope="module")
def tin_selenide():
    lattice = Lattice.hexagonal(3.811, 20)
    return slab(Structure(lattice, ["Sn", "Se", "Se"], [[0, 0, 0.5], [1 / 3, 2 / 3, 0.577], [2 / 3, 1 / 3, 0.423]]))


def sites_in_view(truth: Truth, margin: float) -> list[tuple[str, np.ndarray]]:
    n = np.stack(np.meshgrid(np.arange(-15, 16), np.arange(-15, 16)), axis=-1).reshape(-1, 2)
    height, width = truth.options.shape
    size = np.array([width * truth.options.pixel_size[1], height * truth.options.pixel_size[0]])
    found = []
    for site, position in zip(truth.structure, truth.positions, strict=True):
        copies = position + n @ truth.cell
        inside = np.all((copies > margin) & (copies < size - margin), axis=1)
        found += [(site.specie.symbol, copy) for copy in copies[inside]]
    return found


def centroid(image, pixel_size, guess, radius=0.55):
    """Centre of a Gaussian on a level, fitted within ``radius`` Å of ``guess``, and its height."""
    y, x = np.meshgrid(*(np.arange(n) * p for n, p in zip(image.shape, pixel_size, strict=True)), indexing="ij")
    near = np.hypot(x - guess[0], y - guess[1]) < radius

    def model(xy, x0, y0, height, width, level):
        return height * np.exp(-((xy[0] - x0) ** 2 + (xy[1] - y0) ** 2) / (2 * width**2)) + level

    values = image[near].astype(float)
    start = (*guess, float(np.ptp(values)), 0.4, float(values.min()))
    best, _ = curve_fit(model, np.stack([x[near], y[near]]), values, p0=start)
    return best[:2], best[2]


def analytic(rng):
    """A periodic phase in closed form on an oblique cell, and the cell image that has exactly its gradient."""
    cell = np.array([[4.0, 0.0], [1.3, 5.1]])
    reciprocal = np.linalg.inv(cell).T
    waves = [(h, k, *rng.uniform([0.1, 0], [0.3, 2 * np.pi])) for h, k in [(1, 0), (0, 1), (1, -2), (2, 1)]]

    def phase(points):
        return sum(c * np.cos(2 * np.pi * points @ (h * reciprocal[0] + k * reciprocal[1]) + s) for h, k, c, s in waves)

    def gradient(points):
        total = np.zeros_like(points)
        for h, k, c, s in waves:
            g = h * reciprocal[0] + k * reciprocal[1]
            total += -2 * np.pi * g * c * np.sin(2 * np.pi * points @ g + s)[..., None]
        return total

    from microscopy.detector import phase_gradient

    j, i = np.meshgrid(np.arange(13), np.arange(11), indexing="ij")
    g = gradient(np.stack([i / 11, j / 13], axis=-1) @ cell)
    unit = phase_gradient(np.array([1.0, 0.0, 0.0, 0.0]), Optics())[0]
    gx, gy = g[..., 0] / unit / 2, g[..., 1] / unit / 2
    return CellImage(0.25 + np.stack([gx, gy, -gx, -gy]), cell, Optics()), phase


@pytest.mark.parametrize(("rotation", "mirror"), [(0.0, False), (31.0, False), (-140.0, True)])
def test_idpc_integrates_an_analytic_phase(rotation, mirror):
    image_of, phase = analytic(np.random.default_rng(5))
    turn = orthogonal_part(rotation, mirror)
    view = View(turn, np.array([1.0, 2.0]))
    options = replace(FRAME, shape=(220, 300), pixel_size=(0.15, 0.1))
    artefacts = dict.fromkeys(ARTEFACTS, 0.0)
    image = recorded(image_of, view, turn, options, artefacts, np.zeros(2))
    y, x = np.meshgrid(np.arange(220) * 0.15, np.arange(300) * 0.1, indexing="ij")
    expected = phase(view.to_slab(np.stack([x, y], axis=-1)))
    # The mean is free; at the edges the integration is one-sided.
    inner = np.s_[30:-30, 40:-40]
    assert np.corrcoef(image[inner].ravel(), expected[inner].ravel())[0, 1] > 0.999
    assert np.polyfit(expected[inner].ravel(), image[inner].ravel(), 1)[0] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("mirror", [False, True])
def test_atoms_appear_where_the_truth_says(tin_selenide, cells, mirror):
    simulation = simulate(tin_selenide, replace(FRAME, mirror=mirror), cells)
    image, pixel_size = simulation.micrograph.image, simulation.micrograph.pixel_size
    sites = sites_in_view(simulation.truth, 1.5)
    assert len(sites) > 20
    offsets, heights = [], {"Sn": [], "Se": []}
    for element, position in sites:
        centre, height = centroid(image, pixel_size, position)
        offsets.append(centre - position)
        heights[element].append(height)
    assert np.linalg.norm(offsets, axis=1).max() < 0.02
    assert min(heights["Sn"]) > 1.15 * max(heights["Se"])


def test_spectrum_peaks_at_the_reciprocal_lattice(tin_selenide, cells):
    options = replace(FRAME, shape=(256, 300), pixel_size=(0.13, 0.11), affine=((1.05, 0.08), (0.0, 0.97)))
    simulation = simulate(tin_selenide, options, cells)
    image = simulation.micrograph.image * np.hanning(256)[:, None] * np.hanning(300)
    power = np.abs(np.fft.fft2(image, s=(1024, 1200))) ** 2
    g = np.linalg.inv(simulation.truth.cell).T
    step = np.array([1 / (1200 * 0.11), 1 / (1024 * 0.13)])
    for h, k in [(1, 0), (0, 1), (1, 1), (2, -1)]:
        column, row = np.round((h * g[0] + k * g[1]) / step).astype(int)
        near = np.array([[power[row + i, column + j] for j in range(-6, 7)] for i in range(-6, 7)])
        i, j = np.unravel_index(near.argmax(), near.shape)
        assert abs(i - 6) <= 1
        assert abs(j - 6) <= 1
        assert near.max() > 30 * np.median(power)


def test_rotating_the_view_by_a_quarter_turn_rotates_the_image(cells):
    structure = slab(Structure(Lattice.tetragonal(5.0, 20), ["Mo", "S"], [[0, 0, 0.5], [0.4, 0.3, 0.5]]))
    optics = Optics(modality=Modality.ABF, convergence_angle=SMALL_PROBE, detector=(6.0, 13.0))
    upright = SimulationOptions(optics=optics, shape=(80, 60), pixel_size=(0.2, 0.15), origin=(0.0, 0.0))
    lying = replace(upright, shape=(60, 80), pixel_size=(0.15, 0.2), rotation=90.0, origin=(79 * 0.2, 0.0))
    images = [simulate(structure, options, cells).micrograph.image for options in (upright, lying)]
    # (x, y) -> (-y, x): the first column becomes the first row, read backwards.
    np.testing.assert_allclose(images[1], images[0].T[:, ::-1], atol=1e-5 * float(np.ptp(images[0])))


def test_shot_noise_of_an_annular_detector_is_that_of_its_counts(tin_selenide, cells):
    optics = Optics(modality=Modality.ABF)
    clean = simulate(tin_selenide, replace(FRAME, optics=optics), cells).micrograph.image
    noisy = simulate(tin_selenide, replace(FRAME, optics=optics, dose=5e4), cells).micrograph.image
    electrons = 5e4 * 0.16 * 0.12
    chi2 = np.mean((noisy - clean) ** 2 / (clean / electrons))
    assert chi2 == pytest.approx(1, abs=5 * np.sqrt(2 / clean.size))
    counts = noisy.astype(float) * electrons
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-3)


def test_idpc_noise_lives_at_low_frequencies(tin_selenide, cells):
    clean = simulate(tin_selenide, FRAME, cells).micrograph.image
    noise = simulate(tin_selenide, replace(FRAME, dose=1e4), cells).micrograph.image - clean
    power = np.abs(np.fft.fft2(noise)) ** 2
    qy, qx = np.fft.fftfreq(90, 0.16)[:, None], np.fft.fftfreq(140, 0.12)
    q = np.hypot(qx, qy)
    low, high = (power[(q > a) & (q < b)].mean() for a, b in ((0.3, 0.5), (1.2, 2.0)))
    assert low / high == pytest.approx((1.6 / 0.4) ** 2, rel=0.35)


def test_same_seed_same_image_and_artefacts_have_their_own_randomness(tin_selenide, cells):
    options = replace(FRAME, dose=3e3, origin=None, seed=7)
    first, again, other = (simulate(tin_selenide, o, cells) for o in (options, options, replace(options, seed=8)))
    np.testing.assert_array_equal(first.micrograph.image, again.micrograph.image)
    assert first.micrograph.sha256 == again.micrograph.sha256 != other.micrograph.sha256
    assert not np.allclose(first.truth.origin, other.truth.origin)
    jittered = simulate(tin_selenide, replace(options, artefacts={"line_jitter": 0.1}), cells)
    np.testing.assert_array_equal(jittered.truth.origin, first.truth.origin)


def test_distorted_scans_are_in_the_truth(tin_selenide, cells):
    artefacts = {"scan_shear": 0.1, "scan_scale": 0.06, "calibration": -0.05, "drift": 0.5, "tilt": 3.0}
    simulation = simulate(tin_selenide, replace(FRAME, artefacts=artefacts), cells)
    assert simulation.micrograph.pixel_size == pytest.approx((0.152, 0.114))
    plain = simulate(tin_selenide, FRAME, cells).truth
    strain = np.linalg.norm(simulation.truth.matrix @ np.linalg.inv(plain.matrix) - np.eye(2))
    assert 0.05 < strain < 0.3
    tin = [(e, p) for e, p in sites_in_view(simulation.truth, 2.0) if e == "Sn"]
    assert len(tin) > 5
    offsets = []
    for _, position in tin:
        centre, _ = centroid(simulation.micrograph.image, simulation.micrograph.pixel_size, position)
        offsets.append(centre - position)
    # Curvature of the drift is what a linear truth cannot hold.
    assert np.linalg.norm(offsets, axis=1).max() < 0.12


def test_the_detector_may_stay_with_the_microscope(tin_selenide, cells):
    optics = Optics(convergence_angle=SMALL_PROBE, detector=(4.0, 13.0))
    options = replace(FRAME, optics=optics)
    crystal = simulate(tin_selenide, options, cells).micrograph.image
    microscope = simulate(tin_selenide, replace(options, detector_rotation=0.0), cells).micrograph.image
    assert np.corrcoef(crystal.ravel(), microscope.ravel())[0, 1] > 0.99
    turned = simulate(tin_selenide, replace(options, detector_rotation=90.0), cells).micrograph.image
    np.testing.assert_allclose(turned, microscope, atol=2e-3 * float(np.ptp(microscope)))


def test_artefacts_do_what_they_are_called(tin_selenide, cells):
    def image(modality=Modality.IDPC, **artefacts):
        options = replace(FRAME, optics=Optics(modality=modality), artefacts=artefacts)
        return simulate(tin_selenide, options, cells).micrograph.image

    clean = image()
    assert image(source_size=0.5).std() < 0.8 * clean.std()
    dirt = image(background=1.0) - clean
    assert dirt.std() == pytest.approx(clean.std(), rel=0.5)
    rough = np.abs(np.diff(dirt, axis=1)).mean() / np.abs(np.diff(clean, axis=1)).mean()
    assert rough < 0.3
    assert (image(Modality.ABF, background=1.0) - image(Modality.ABF)).max() < 1e-6
    blunt = Optics(convergence_angle=SMALL_PROBE, detector=(4.0, 13.0))
    sharp, blurred = (
        simulate(tin_selenide, replace(FRAME, optics=blunt, artefacts={"defocus": d}), cells).micrograph.image
        for d in (0.0, 300.0)
    )
    assert blurred.std() < 0.8 * sharp.std()
    grey = image(quantise=4)
    np.testing.assert_array_equal(np.unique(grey), np.arange(16))
    assert np.corrcoef(grey.ravel(), clean.ravel())[0, 1] > 0.98


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"artefacts": {"gremlins": 1.0}}, "unknown artefact gremlins; choose from scan_shear"),
        ({"artefacts": {"quantise": 7.5}}, "whole number of bits"),
        ({"artefacts": {"tilt": float("nan")}}, "must lie between"),
        ({"dose": 0.0}, "dose 0.0"),
        ({"shape": (0, 10)}, "shape"),
        ({"shape": (9000, 10)}, "8192"),
        ({"pixel_size": (0.1, -0.1)}, "pixel size"),
        ({"affine": ((1.0, 1.0), (1.0, 1.0))}, "collapses"),
        ({"seed": -1}, "seed"),
    ],
)
def test_impossible_options_are_refused(tin_selenide, change, message):
    with pytest.raises(SimulationError, match=message):
        simulate(tin_selenide, replace(FRAME, **change))


def test_files_tell_the_truth(tin_selenide, cells, tmp_path):
    import tifffile
    from rsciio.tiff import file_reader

    source = tmp_path / "zinnselenid é.cif"
    tin_selenide.to(filename=str(source))
    options = replace(FRAME, dose=1e4, artefacts={"calibration": 0.1})
    image_path, truth_path = simulate_to_file(source, options, tmp_path / "out" / "image.tif", cells)
    assert sorted(p.name for p in image_path.parent.iterdir()) == ["image.tif", "image.truth.cif", "image.truth.json"]

    with tifffile.TiffFile(image_path) as tif:
        stored, imagej = tif.asarray(), tif.imagej_metadata
        per_nm = [tif.pages[0].tags[name].value for name in ("YResolution", "XResolution")]
    np.testing.assert_allclose([10 * d / n for n, d in per_nm], [0.176, 0.132], rtol=1e-6)
    assert imagej["unit"] == "nm"
    assert json.loads(imagej["Info"]) == {
        "modality": "iDPC",
        "dose": 1e4,
        "beam_energy": 300e3,
        "convergence_angle": 21.3,
        "software": "AutoMat, abTEM multislice",
    }
    axes = {axis["name"]: axis for axis in file_reader(str(image_path))[0]["axes"]}
    assert (axes["height"]["scale"], axes["width"]["scale"]) == pytest.approx((0.0176, 0.0132))
    assert axes["height"]["units"] == axes["width"]["units"] == "nm"

    simulation = simulate(load_structure(source), options, cells)
    np.testing.assert_array_equal(stored, simulation.micrograph.image)
    truth = json.loads(truth_path.read_text())
    np.testing.assert_allclose(truth["cell"], simulation.truth.cell)
    assert [site["element"] for site in truth["sites"]] == ["Sn", "Se", "Se"]
    again = load_structure(image_path.with_suffix(".truth.cif"))
    np.testing.assert_allclose(again.cart_coords, tin_selenide.cart_coords, atol=1e-6)


def test_quantised_images_are_stored_as_integers(tin_selenide, cells, tmp_path):
    import tifffile

    source = tmp_path / "POSCAR"
    tin_selenide.to(filename=str(source), fmt="poscar")
    path, _ = simulate_to_file(source, replace(FRAME, artefacts={"quantise": 8}), tmp_path / "grey.tif", cells)
    grey = tifffile.imread(path)
    assert grey.dtype == np.uint8
    assert (grey.min(), grey.max()) == (0, 255)


def test_nothing_is_left_behind_when_writing_fails(tin_selenide, cells, tmp_path):
    source = tmp_path / "in.cif"
    tin_selenide.to(filename=str(source))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SimulationError, match="cannot make the folder"):
        simulate_to_file(source, FRAME, tmp_path / "file" / "x.tif", cells)
    (tmp_path / "out" / "x.tif").mkdir(parents=True)
    with pytest.raises(SimulationError, match="cannot write"):
        simulate_to_file(source, FRAME, tmp_path / "out" / "x.tif", cells)
    assert not [p for p in (tmp_path / "out").iterdir() if p.name.startswith(".")]
    with pytest.raises(SimulationError, match=r"ends in \.tif"):
        simulate_to_file(source, FRAME, tmp_path / "x.png", cells)


def test_thermal_motion_is_a_blur(tin_selenide, cells):
    still = cached_cell_images(tin_selenide, Optics(), cells).blurred(0.08)
    moving = simulate(tin_selenide, replace(FRAME, thermal_sigma=0.08), cells).micrograph.image
    source = simulate(tin_selenide, replace(FRAME, optics=Optics(source_size=0.08)), cells).micrograph.image
    np.testing.assert_allclose(moving, source, atol=1e-6)
    assert still.fractions.std() > 0
