from __future__ import annotations

import io

import fake_run
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from scipy.ndimage import maximum_filter

from reporting.defect_marks import MARKS
from reporting.figures import cell_pngs, micrograph_png, projections_png
from reporting.overlay import MAX_BYTES, Extent, Registration, colour, overlay_png, positions
from reporting.thumbnail import MAX_BYTES as THUMBNAIL_BYTES
from reporting.thumbnail import data_uri, grey, thumbnail


def registration() -> Registration:
    best = fake_run.candidates().items[0]
    return Registration(best.structure, best.cell, best.shift)


def field() -> Extent:
    (height, width), (dy, dx) = fake_run.SHAPE, fake_run.PIXEL
    return Extent(0.0, 0.0, (width - 1) * dx, (height - 1) * dy)


def test_atoms_sit_on_the_maxima_of_the_image() -> None:
    """Pixel = position / pixel size, x with pixel_size[1]: pixels are not square here, nor is the image."""
    image = fake_run.denoised().image
    xy, _ = positions(registration(), field())
    rows, columns = np.rint(xy[:, 1] / fake_run.PIXEL[0]).astype(int), np.rint(xy[:, 0] / fake_run.PIXEL[1]).astype(int)
    local = maximum_filter(image, size=3)
    inner = (rows > 4) & (rows < image.shape[0] - 5) & (columns > 4) & (columns < image.shape[1] - 5)
    assert inner.sum() > 50
    peaks = image == maximum_filter(image, size=9)
    near_peak = maximum_filter(peaks, size=3)
    assert near_peak[rows[inner], columns[inner]].all()
    assert (image[rows[inner], columns[inner]] > 0.97 * local[rows[inner], columns[inner]]).all()


def test_atoms_fill_the_field_at_the_density_of_the_cell() -> None:
    best, extent = registration(), field()
    xy, sites = positions(best, extent)
    area = (extent.right - extent.left) * (extent.bottom - extent.top)
    expected = area / abs(np.linalg.det(best.cell))
    for site in range(3):
        assert (sites == site).sum() == pytest.approx(expected, rel=0.12)
    assert xy.min() >= 0.0
    assert xy[:, 0].max() <= extent.right


def test_nearest_atoms_are_drawn_last() -> None:
    """The c axis points away from the viewer, so the atom of smallest z lies on top."""
    _, sites = positions(registration(), field())
    heights = registration().structure.cart_coords[sites, 2]
    assert (np.diff(heights) <= 1e-9).all()


@pytest.mark.parametrize("mirrored", [False, True])
def test_overlay_is_a_picture_of_bounded_size(mirrored: bool) -> None:
    best = registration()
    if mirrored:
        best = Registration(best.structure, best.cell * [-1.0, 1.0], best.shift)
    image = np.random.default_rng(0).normal(size=(700, 900)).astype(np.float32)
    data = overlay_png(image, (0.1, 0.1), best, estimated=True)
    assert len(data) <= MAX_BYTES
    picture = Image.open(io.BytesIO(data))
    assert picture.format == "PNG"
    assert picture.width > picture.height > 400


def test_overlay_shows_the_colours_of_its_elements() -> None:
    micrograph = fake_run.micrograph()
    data = overlay_png(micrograph.image, fake_run.PIXEL, registration(), close_view=fake_run.denoised().image)
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=float).reshape(-1, 3)
    for symbol in ("Mo", "S"):
        distance = np.abs(pixels - 255 * np.array(colour(symbol))).max(axis=1)
        assert (distance < 3).sum() > 30  # the marks of the legend are opaque


@pytest.mark.parametrize("count", [0, 1, 2])
def test_defects_are_marked_in_both_views_and_in_the_legend(count: int) -> None:
    """Pixels of the colours of both kinds, left and right of the middle; none where there is no such defect."""
    micrograph = fake_run.micrograph()
    found = fake_run.defects(count).found
    data = overlay_png(micrograph.image, fake_run.PIXEL, registration(), defects=found)
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=float)
    for kind, (_, shade) in MARKS.items():
        marked = np.abs(pixels - 255 * np.array(to_rgb(shade))).max(axis=2) < 12
        expected = any(each.kind == kind for each in found)
        assert (marked[:, : marked.shape[1] // 2].sum() > 20) == expected
        assert (marked[:, marked.shape[1] // 2 :].sum() > 20) == expected
        assert (marked[int(0.9 * len(marked)) :].sum() > 5) == expected


def test_overlay_repeats_exactly() -> None:
    micrograph = fake_run.micrograph()
    one, two = (overlay_png(micrograph.image, fake_run.PIXEL, registration()) for _ in range(2))
    assert one == two


@pytest.mark.parametrize("shape", [(512, 700), (30, 4000), (16, 16)])
def test_thumbnail_fits_an_artifact(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).normal(size=shape)
    data = thumbnail(noise, side=512)
    assert len(data_uri(data)) <= THUMBNAIL_BYTES
    picture = Image.open(io.BytesIO(data))
    assert max(picture.size) <= 512
    assert (picture.width > picture.height) == (shape[1] > shape[0])


def test_grey_ignores_hot_pixels_and_survives_a_constant() -> None:
    image = np.tile(np.linspace(0.0, 1.0, 200), (20, 1))
    image[3, 5] = 1e9
    assert np.ptp(grey(image)[10]) > 240
    assert (grey(np.full((4, 5), 7.0)) == 128).all()


def test_pictures_keep_true_proportions() -> None:
    picture = Image.open(io.BytesIO(micrograph_png(fake_run.micrograph().image, fake_run.PIXEL)))
    (height, width), (dy, dx) = fake_run.SHAPE, fake_run.PIXEL
    assert picture.width / picture.height == pytest.approx(width * dx / (height * dy), rel=0.02)


def test_cell_figures_share_their_size() -> None:
    sizes = {Image.open(io.BytesIO(data)).size for data in cell_pngs(fake_run.reconstruction())}
    assert len(sizes) == 1


def test_projections_are_drawn() -> None:
    picture = Image.open(io.BytesIO(projections_png(fake_run.monolayer())))
    assert np.asarray(picture)[..., 3].any()
