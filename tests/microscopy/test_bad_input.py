"""Whatever is thrown at the reader comes back as one line that names the file, with nothing else on the terminal."""

from __future__ import annotations

import os
import shutil
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from microscope_files import lattice, signal_dict, write_imagej, write_mrc, write_velox
from PIL import Image

from microscopy.errors import ReadError
from microscopy.inspection import inspect_file
from microscopy.preprocess import MAX_PIXELS
from microscopy.readers import ReadOptions, read_micrograph
from microscopy.readers.guard import guarded

IMAGE = lattice()
BIG = (12_000, 12_000)


def refuse(path: Path, options: ReadOptions | None = None) -> str:
    """The one line with which ``path`` is refused."""
    with pytest.raises(ReadError) as caught:
        read_micrograph(path, options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert len(message) < len(str(path)) + 330
    return message


def _npy(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def test_missing_empty_folder_and_unknown(tmp_path: Path) -> None:
    assert "no such file" in refuse(tmp_path / "none.tif")
    empty = tmp_path / "empty.dm3"
    empty.touch()
    assert "is empty" in refuse(empty)
    assert "is a folder" in refuse(tmp_path)
    note = tmp_path / "note.json"
    note.write_text("{}")
    assert "unknown file type .json" in refuse(note)
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    assert "no such file" in refuse(tmp_path / "dangling.png")
    os.mkfifo(tmp_path / "pipe.tif")
    assert "not a regular file" in refuse(tmp_path / "pipe.tif")


@pytest.mark.parametrize(
    "suffix", ["tif", "png", "jpg", "npy", "npz", "h5", "emd", "hspy", "dm3", "dm4", "mrc", "ser", "emi", "prz"]
)
@pytest.mark.parametrize("content", [b"not an image at all\n" * 80, bytes(range(256)) * 8], ids=["text", "bytes"])
def test_renamed_files(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"renamed.{suffix}"
    path.write_bytes(content)
    refuse(path)


def test_text_named_tif_is_called_text(tmp_path: Path) -> None:
    path = tmp_path / "notes.tif"
    path.write_text("sample 7, 80 kV")
    assert "it holds text" in refuse(path)


def _written(folder: Path) -> list[Path]:
    from rsciio.emd import file_writer as write_emd
    from rsciio.hspy import file_writer as write_hspy

    paths = [folder / f"image.{suffix}" for suffix in ("npy", "npz", "h5", "png", "jpg", "tif", "prz", "hspy")]
    grey = Image.fromarray(IMAGE.astype(np.uint8))
    np.save(paths[0], IMAGE)
    np.savez_compressed(paths[1], image=IMAGE)
    with h5py.File(paths[2], "w") as file:
        file["image"] = IMAGE
    for path in paths[3:6]:
        grey.save(path)
    with paths[6].open("wb") as stream:
        np.savez_compressed(stream, data=IMAGE)
    write_hspy(str(paths[7]), signal_dict(IMAGE, 0.02, 0.03, "nm"))
    write_emd(str(folder / "berkeley.emd"), signal_dict(IMAGE, 0.02, 0.03, "nm"))
    return [
        *paths,
        folder / "berkeley.emd",
        write_imagej(folder / "imagej.tif", IMAGE, 0.02, 0.02, "nm"),
        write_mrc(folder / "image.mrc", IMAGE, 0.2, 0.2),
        write_velox(folder / "velox.emd", {"HAADF": IMAGE}, 2e-11),
    ]


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_truncated_files(tmp_path: Path, share: float, capfd: pytest.CaptureFixture[str]) -> None:
    for path in _written(tmp_path):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])
        refuse(path)
        with suppress(ReadError):
            assert not any(signal.usable for signal in inspect_file(path).signals), path.name
    out, err = capfd.readouterr()
    assert out == ""
    assert err == ""


def test_unusable_pixels(tmp_path: Path) -> None:
    assert "every pixel is zero" in refuse(_npy(tmp_path / "zero.npy", np.zeros((80, 90))))
    assert "every pixel is 7" in refuse(_npy(tmp_path / "seven.npy", np.full((80, 90), 7)))
    assert "too small, 16 × 16" in refuse(_npy(tmp_path / "small.npy", IMAGE[:16, :16]))
    assert "one-dimensional" in refuse(_npy(tmp_path / "line.npy", IMAGE[0]))
    assert "4 dimensions" in refuse(_npy(tmp_path / "four.npy", np.zeros((3, 4, 80, 90), np.uint8)))
    assert "complex" in refuse(_npy(tmp_path / "complex.npy", IMAGE + 1j))
    holes = IMAGE.copy()
    holes[:10] = np.nan
    assert "NaN or infinite" in refuse(_npy(tmp_path / "holes.npy", holes))
    assert "NaN or infinite" in refuse(_npy(tmp_path / "nan.npy", np.full((80, 90), np.nan)))


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "exploded",))

    path = tmp_path / "bomb.npy"
    np.save(path, np.array([[Bomb()] * 80] * 80, dtype=object), allow_pickle=True)
    assert "pickled" in refuse(path)
    np.savez(tmp_path / "bomb.npz", image=np.array([[Bomb()] * 80] * 80, dtype=object))
    assert "pickled" in refuse(tmp_path / "bomb.npz")
    assert not (tmp_path / "exploded").exists()


def _sparse_tif(path: Path) -> Path:
    tifffile.memmap(path, shape=BIG, dtype=np.uint16).flush()
    return path


def _big_npz(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("image.npy", "w") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": BIG})
        for _ in range(10):
            stream.write(bytes(1000))
    return path


def _big_npy(path: Path) -> Path:
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=BIG).flush()
    return path


def _big_h5(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("image", shape=BIG, dtype="f8", chunks=(1000, 1000))
    return path


def _big_mrc(path: Path) -> Path:
    write_mrc(path, IMAGE, 0.2, 0.2)
    with path.open("r+b") as stream:
        stream.write(np.array(BIG, "<i4").tobytes())
        stream.truncate(1024 + 4 * BIG[0] * BIG[1])
    return path


def _png_header(path: Path, side: int) -> Path:
    """A png that declares ``side``² pixels and holds none."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">2I5B", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    return path


OVERSIZED = {
    "sparse.tif": _sparse_tif,
    "big.npz": _big_npz,
    "big.prz": lambda p: _big_npz(p.with_suffix(".npz")).rename(p),
    "big.npy": _big_npy,
    "big.h5": _big_h5,
    "big.mrc": _big_mrc,
    "big.png": lambda p: _png_header(p, 12_000),
    "bomb.png": lambda p: _png_header(p, 60_000),
}


@pytest.mark.parametrize("name", OVERSIZED)
def test_oversized_images_are_refused_from_their_header(tmp_path: Path, name: str) -> None:
    path = OVERSIZED[name](tmp_path / name)
    if name == "big.prz":
        with zipfile.ZipFile(path) as archive:
            member = archive.read("image.npy")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("data.npy", member)
    tracemalloc.start()
    message = refuse(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "too large" in message
    assert "crop" in message
    assert peak < 64e6, "pixels were loaded before the size was checked"


def test_long_narrow_images_within_the_limit_are_allowed(tmp_path: Path) -> None:
    image = np.tile(IMAGE[:64], (1, 100)).astype(np.uint8)
    assert image.size < MAX_PIXELS
    assert read_micrograph(_npy(tmp_path / "strip.npy", image)).image.shape == image.shape


@pytest.mark.parametrize("unit", ["1/nm", "mrad", "eV"])
def test_axes_that_are_no_length_are_no_image(tmp_path: Path, unit: str) -> None:
    from rsciio.hspy import file_writer

    path = tmp_path / "pattern.hspy"
    file_writer(str(path), signal_dict(IMAGE, 0.02, 0.03, unit))
    assert "not a real-space image" in refuse(path)
    assert "not a real-space image" in refuse(path, ReadOptions(pixel_size=(0.2, 0.2))), "an override cannot mend it"


@pytest.mark.parametrize("unit", ["px", "", "parsec"])
def test_axes_without_a_known_unit_are_an_image_without_calibration(tmp_path: Path, unit: str) -> None:
    from rsciio.hspy import file_writer

    path = tmp_path / "image.hspy"
    file_writer(str(path), signal_dict(IMAGE, 0.02, 0.03, unit))
    assert read_micrograph(path).pixel_size is None
    assert read_micrograph(path, ReadOptions(pixel_size=(0.2, 0.2))).pixel_size == (0.2, 0.2)


def test_emi_without_its_ser(tmp_path: Path) -> None:
    path = tmp_path / "lonely.emi"
    path.write_bytes(b"JL\x01\x00" + b"<ObjectInfo></ObjectInfo>" + bytes(64))
    assert ".ser files" in refuse(path)


def test_permission_denied_and_other_system_errors(tmp_path: Path) -> None:
    path = tmp_path / "locked.tif"
    with pytest.raises(ReadError, match=r"locked\.tif: permission denied"), guarded(path, "TIFF"):
        raise PermissionError(13, "Permission denied", str(path))
    with pytest.raises(ReadError, match=r"cannot be read \(Input/output error\)"), guarded(path, "TIFF"):
        raise OSError(5, "Input/output error")
    with pytest.raises(ReadError, match="does not fit in memory"), guarded(path, "TIFF"):
        raise MemoryError
    if os.geteuid() != 0:  # permission bits do not bind root
        path.write_bytes(b"II*\x00")
        path.chmod(0)
        assert "permission denied" in refuse(path)


def test_guard_keeps_third_party_noise_inside_and_interrupts_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import logging

    with guarded(tmp_path, "anything"):
        warnings.warn("deprecated", stacklevel=1)
        logging.getLogger("rsciio.emd").warning("pruned")
        logging.getLogger("tifffile").error("bad tag")
    assert caplog.records == []
    with pytest.raises(KeyboardInterrupt), guarded(tmp_path, "anything"):
        raise KeyboardInterrupt
    multiline = "first line\n  second line " + "x" * 1000
    with pytest.raises(ReadError) as caught, guarded(tmp_path, "anything"):
        raise RuntimeError(multiline)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(tmp_path)) + 300


def test_reading_leaves_the_file_alone(tmp_path: Path) -> None:
    for path in _written(tmp_path):
        before = path.read_bytes()
        read_micrograph(path)
        assert path.read_bytes() == before
    shutil.rmtree(tmp_path)


def _external(path: Path, secret: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("image", (80, 90), "<f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def _external_link(path: Path, secret: Path) -> None:
    with h5py.File(path, "w") as file:
        file["image"] = h5py.ExternalLink(str(secret), "/image")


def _virtual(path: Path, secret: Path) -> None:
    layout = h5py.VirtualLayout((80, 90), "<f4")
    layout[...] = h5py.VirtualSource(str(secret), "image", (80, 90))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("image", layout)


@pytest.mark.parametrize("make", [_external, _external_link, _virtual])
def test_an_hdf5_file_cannot_have_other_files_read(make: Callable[[Path, Path], None], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    with h5py.File(secret, "w") as file:
        file["image"] = np.random.default_rng(0).random((80, 90), dtype=np.float32)
    make(tmp_path / "x.h5", secret)
    with pytest.raises(ReadError, match="image is in another file, which is not read"):
        read_micrograph(tmp_path / "x.h5")
