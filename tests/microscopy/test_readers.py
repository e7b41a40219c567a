"""Every format keeps shape, pixels, calibration and optics; every ambiguity is asked about, never guessed."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from microscope_files import lattice, signal_dict, write_dm_tif, write_imagej, write_mrc, write_velox
from PIL import Image

from microscopy.errors import ReadError
from microscopy.micrograph import Modality
from microscopy.readers import ReadOptions, read_micrograph

IMAGE = lattice()
STEP = (0.2, 0.3)
"""Å (y, x): non-square, so that swapped axes show."""


def _hspy(path: Path) -> Path:
    from rsciio.hspy import file_writer

    file_writer(str(path), signal_dict(IMAGE, 0.02, 0.03, "nm"))
    return path


def _ncem(path: Path) -> Path:
    from rsciio.emd import file_writer

    file_writer(str(path), signal_dict(IMAGE, 20.0, 30.0, "pm"))
    return path


def _ome(path: Path) -> Path:
    sizes = {"PhysicalSizeY": 20, "PhysicalSizeYUnit": "pm", "PhysicalSizeX": 0.3, "PhysicalSizeXUnit": "Å"}
    tifffile.imwrite(path, IMAGE, metadata={"axes": "YX", **sizes})
    return path


CALIBRATED = {
    "imagej-nm.tif": lambda p: write_imagej(p, IMAGE, 0.02, 0.03, "nm"),
    "imagej-micron.tif": lambda p: write_imagej(p, IMAGE, 2e-5, 3e-5, "micron"),
    "imagej-escaped.tif": lambda p: write_imagej(p, IMAGE, 2e-5, 3e-5, "\\u00B5m"),
    "imagej-angstrom.tif": lambda p: write_imagej(p, IMAGE, 0.2, 0.3, "Angstrom"),
    "gatan.tif": lambda p: write_dm_tif(p, IMAGE, 0.02, 0.03, "nm"),
    "ome.ome.tif": _ome,
    "stack.mrc": lambda p: write_mrc(p, IMAGE, 0.2, 0.3),
    "signal.hspy": _hspy,
    "signal.hdf5": _hspy,
    "berkeley.emd": _ncem,
}


@pytest.mark.parametrize("name", CALIBRATED)
def test_calibrated_formats_keep_pixels_and_both_pixel_sizes(tmp_path: Path, name: str) -> None:
    micrograph = read_micrograph(CALIBRATED[name](tmp_path / name))
    assert micrograph.image.dtype == np.float32
    np.testing.assert_array_equal(micrograph.image, IMAGE)
    np.testing.assert_allclose(micrograph.pixel_size, STEP, rtol=1e-6)
    assert micrograph.pixel_size_source == "file"
    assert any("not square" in notice for notice in micrograph.notices)
    json.dumps(micrograph.metadata, allow_nan=False)
    assert _classes(micrograph.metadata) <= {str, int, float, bool, type(None)}  # no enumerations of a reader's


def _classes(value: object) -> set[type]:
    if isinstance(value, dict):
        return {kind for each in value.values() for kind in _classes(each)}
    return {kind for each in value for kind in _classes(each)} if isinstance(value, list) else {type(value)}


def _hdf5(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["measurement/image"] = IMAGE
        file["measurement/current"] = np.arange(5.0)
        file["note"] = "text"
    return path


def _save(path: Path, **options: object) -> Path:
    Image.fromarray(IMAGE.astype(np.uint8)).save(path, **options)
    return path


def _npz(path: Path) -> Path:
    np.savez(path, image=IMAGE, dose=1e4, vector=np.arange(4))
    return path


def _npy(path: Path, array: np.ndarray = IMAGE) -> Path:
    np.save(path, array)
    return path


def _png16(path: Path) -> Path:
    Image.fromarray((IMAGE * 100).astype(np.uint16)).save(path)
    return path


UNCALIBRATED = {
    "array.npy": (_npy, IMAGE),
    "fortran.npy": (lambda p: _npy(p, np.asfortranarray(IMAGE)), IMAGE),
    "archive.npz": (_npz, IMAGE),
    "plain.h5": (_hdf5, IMAGE),
    "grey.png": (_save, IMAGE.astype(np.uint8)),
    "grey16.png": (_png16, (IMAGE * 100).astype(np.uint16)),
    "dpi.png": (lambda p: _save(p, dpi=(300, 300)), IMAGE.astype(np.uint8)),
    "plain.tif": (_save, IMAGE.astype(np.uint8)),
    "dpi.tif": (lambda p: _save(p, dpi=(300, 300)), IMAGE.astype(np.uint8)),
    "lzw.tif": (lambda p: _save(p, compression="tiff_lzw"), IMAGE.astype(np.uint8)),
    "imagej-inch.tif": (lambda p: write_imagej(p, IMAGE, 1 / 72, 1 / 72, "inch"), IMAGE),
    "imagej-pixel.tif": (lambda p: write_imagej(p, IMAGE, 1.0, 1.0, "pixel"), IMAGE),
}


@pytest.mark.parametrize("name", UNCALIBRATED)
def test_formats_without_calibration_never_get_a_pixel_size(tmp_path: Path, name: str) -> None:
    write, expected = UNCALIBRATED[name]
    micrograph = read_micrograph(write(tmp_path / name))
    np.testing.assert_array_equal(micrograph.image, expected.astype(np.float32))
    assert micrograph.pixel_size is None
    assert micrograph.pixel_size_source is None


def test_jpeg_is_read_with_a_warning_about_loss(tmp_path: Path) -> None:
    micrograph = read_micrograph(_save(tmp_path / "grey.jpg", quality=95))
    assert np.abs(micrograph.image - IMAGE).max() < 40
    assert any("JPEG" in notice for notice in micrograph.notices)


def test_panta_rhei_metadata_is_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "image.prz"
    with path.open("wb") as stream:
        np.savez_compressed(stream, data=IMAGE, meta_data=np.array([{"type": "2D"}], dtype=object))
    np.testing.assert_array_equal(read_micrograph(path).image, IMAGE)


def test_content_wins_over_the_name(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.png").rename(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_micrograph(path).image, IMAGE.astype(np.uint8))


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_colour_is_flattened_with_a_notice(tmp_path: Path, suffix: str) -> None:
    grey = IMAGE.astype(np.uint8)
    path = tmp_path / f"colour.{suffix}"
    Image.fromarray(np.dstack([grey, grey, grey])).save(path)
    micrograph = read_micrograph(path)
    np.testing.assert_array_equal(micrograph.image, grey)
    assert any("three equal colour channels" in notice for notice in micrograph.notices)
    tinted = np.dstack([grey, grey // 2, np.zeros_like(grey), np.full_like(grey, 255)])
    Image.fromarray(tinted).save(path)
    micrograph = read_micrograph(path)
    np.testing.assert_allclose(micrograph.image, tinted[..., :3] @ [0.299, 0.587, 0.114], rtol=1e-5)
    assert any("luminance" in notice for notice in micrograph.notices)


def test_palette_png_is_read_through_its_colours(tmp_path: Path) -> None:
    picture = Image.fromarray(IMAGE.astype(np.uint8)).convert("P")
    picture.save(tmp_path / "palette.png")
    assert read_micrograph(tmp_path / "palette.png").image.shape == IMAGE.shape


def test_user_pixel_size_wins_and_both_values_are_recorded(tmp_path: Path) -> None:
    path = write_imagej(tmp_path / "a.tif", IMAGE, 0.02, 0.02, "nm")
    micrograph = read_micrograph(path, ReadOptions(pixel_size=(0.25, 0.25)))
    assert micrograph.pixel_size == (0.25, 0.25)
    assert micrograph.pixel_size_source == "user"
    notice = next(n for n in micrograph.notices if "overrides" in n)
    assert "0.25 Å" in notice
    assert "0.2 Å" in notice


def test_user_knowledge_reaches_the_record(tmp_path: Path) -> None:
    options = ReadOptions(
        modality=Modality.ABF,
        dose=1e4,
        elements=("S", "Mo", "S"),
        formula="MoS2",
        beam_energy=8e4,
        convergence_angle=25,
    )
    micrograph = read_micrograph(_npy(tmp_path / "a.npy"), options)
    assert (micrograph.modality, micrograph.dose, micrograph.elements) == (Modality.ABF, 1e4, ("Mo", "S"))
    assert (micrograph.formula, micrograph.beam_energy, micrograph.convergence_angle) == ("MoS2", 8e4, 25)


@pytest.mark.parametrize("bad", [{"pixel_size": (0.1, -0.1)}, {"dose": 0.0}, {"beam_energy": float("nan")}])
def test_impossible_options_are_refused(bad: dict) -> None:
    with pytest.raises(ReadError, match="positive"):
        ReadOptions(**bad)


class TestVelox:
    def _file(self, path: Path, **extra: np.ndarray) -> Path:
        return write_velox(path, {"HAADF": IMAGE.astype(np.uint16), **extra}, 2e-11)

    def test_single_image_with_its_optics(self, tmp_path: Path) -> None:
        micrograph = read_micrograph(self._file(tmp_path / "v.emd"))
        np.testing.assert_array_equal(micrograph.image, IMAGE.astype(np.uint16))
        np.testing.assert_allclose(micrograph.pixel_size, (0.2, 0.2))
        assert micrograph.modality is Modality.HAADF
        assert micrograph.beam_energy == 300e3
        assert micrograph.convergence_angle == pytest.approx(21.3)

    def test_contiguous_storage_is_read_too(self, tmp_path: Path) -> None:
        path = write_velox(tmp_path / "v.emd", {"HAADF": IMAGE}, 2e-11, chunked=False)
        np.testing.assert_array_equal(read_micrograph(path).image, IMAGE)

    def test_a_parallel_beam_angle_is_not_believed(self, tmp_path: Path) -> None:
        path = write_velox(tmp_path / "v.emd", {"HAADF": IMAGE}, 2e-11, convergence=0.001)
        micrograph = read_micrograph(path)
        assert micrograph.convergence_angle is None
        assert any("convergence angle 1 mrad" in notice for notice in micrograph.notices)

    def test_several_images_are_listed_not_guessed(self, tmp_path: Path) -> None:
        path = self._file(tmp_path / "v.emd", iDPC=IMAGE, ADF=IMAGE + 1)
        with pytest.raises(ReadError, match=r"--signal NAME \(0: HAADF, 1: iDPC, 2: ADF\)"):
            read_micrograph(path)
        assert read_micrograph(path, ReadOptions(signal="idpc")).modality is Modality.IDPC
        np.testing.assert_array_equal(read_micrograph(path, ReadOptions(signal="2")).image, IMAGE + 1)
        with pytest.raises(ReadError, match="no signals are called 'BF'"):
            read_micrograph(path, ReadOptions(signal="BF"))

    def test_fourier_transforms_are_refused_and_passed_over(self, tmp_path: Path) -> None:
        path = self._file(tmp_path / "v.emd", FFT=(IMAGE + 1j * IMAGE).astype(np.complex64))
        assert read_micrograph(path).modality is Modality.HAADF
        with pytest.raises(ReadError, match="not a real-space image"):
            read_micrograph(path, ReadOptions(signal="Half FFT"))

    def test_complex_dpc_is_integrated(self, tmp_path: Path) -> None:
        height, width = 70, 90
        y, x = np.mgrid[:height, :width] + 0.5
        ky, kx = 6 * np.pi / height, 10 * np.pi / width
        potential = np.cos(ky * y) * np.cos(kx * x)
        gradient = -kx * np.cos(ky * y) * np.sin(kx * x) - 1j * ky * np.sin(ky * y) * np.cos(kx * x)
        path = write_velox(tmp_path / "v.emd", {"DPC": gradient.astype(np.complex64)}, 2e-11)
        micrograph = read_micrograph(path)
        assert micrograph.modality is Modality.IDPC
        # The gradient above is per pixel; the integral is over Å.
        np.testing.assert_allclose(micrograph.image, 0.2 * potential, atol=1e-5)
        assert any("integrated to iDPC" in notice for notice in micrograph.notices)

    def test_stack_needs_a_choice(self, tmp_path: Path) -> None:
        frames = np.stack([IMAGE, IMAGE + 10, IMAGE + 20])
        path = write_velox(tmp_path / "v.emd", {"HAADF": frames}, 2e-11)
        with pytest.raises(ReadError, match=r"stack of 3 images.*--frame K \(0 to 2\)"):
            read_micrograph(path)
        np.testing.assert_array_equal(read_micrograph(path, ReadOptions(frame=2)).image, IMAGE + 20)
        np.testing.assert_allclose(read_micrograph(path, ReadOptions(frame="mean")).image, IMAGE + 10, rtol=1e-6)
        with pytest.raises(ReadError, match="no frame 3"):
            read_micrograph(path, ReadOptions(frame=3))


@pytest.mark.parametrize("kind", ["npy", "h5", "tif", "npz"])
def test_stacks_of_plain_formats(tmp_path: Path, kind: str) -> None:
    frames = np.stack([IMAGE, IMAGE + 1])
    path = tmp_path / f"stack.{kind}"
    if kind == "npy":
        np.save(path, frames)
    elif kind == "npz":
        np.savez(path, frames=frames[:, None])
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file["frames"] = frames[None]
    else:
        tifffile.imwrite(path, frames, photometric="minisblack")
    with pytest.raises(ReadError, match="stack of 2 images"):
        read_micrograph(path)
    np.testing.assert_array_equal(read_micrograph(path, ReadOptions(frame=1)).image, IMAGE + 1)


def test_two_datasets_are_listed_by_path(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["a/one"], file["a/two"] = IMAGE, IMAGE + 1
    with pytest.raises(ReadError, match="0: a/one, 1: a/two"):
        read_micrograph(tmp_path / "two.h5")
    np.testing.assert_array_equal(read_micrograph(tmp_path / "two.h5", ReadOptions(signal="a/two")).image, IMAGE + 1)


def test_few_bad_pixels_are_filled_and_masked(tmp_path: Path) -> None:
    image = IMAGE.copy()
    image[3, 5], image[40, 7] = np.nan, np.inf
    micrograph = read_micrograph(_npy(tmp_path / "a.npy", image))
    assert np.isfinite(micrograph.image).all()
    assert micrograph.mask is not None
    assert sorted(zip(*np.nonzero(~micrograph.mask), strict=True)) == [(3, 5), (40, 7)]
    assert any("2 NaN or infinite pixels" in notice for notice in micrograph.notices)


def test_digest_follows_content_not_name(tmp_path: Path) -> None:
    first = read_micrograph(_npy(tmp_path / "a.npy")).sha256
    assert read_micrograph(_npy(tmp_path / "b.npy")).sha256 == first
    assert read_micrograph(_npy(tmp_path / "c.npy", IMAGE + 1)).sha256 != first


@pytest.mark.parametrize("name", ["with space.npy", "MoS₂ – Bild å.npy", "[glob]*?.npy", "sub/../dots.npy"])
def test_awkward_names(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    path = _npy(tmp_path / name)
    assert read_micrograph(path).source == str(path)


def test_names_in_the_file_give_the_modality_and_its_own_name_does_not(tmp_path: Path) -> None:
    assert read_micrograph(_hspy(tmp_path / "x.hspy")).modality is Modality.HAADF
    assert read_micrograph(_npy(tmp_path / "HAADF.npy")).modality is Modality.UNKNOWN


def test_faint_contrast_on_a_large_constant_survives(tmp_path: Path) -> None:
    counts = IMAGE.astype(np.int64)
    micrograph = read_micrograph(_npy(tmp_path / "a.npy", counts + 4_000_000_000))
    np.testing.assert_array_equal(micrograph.image, counts - counts.min())
    assert any("subtracted" in notice for notice in micrograph.notices)
