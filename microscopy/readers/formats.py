"""Which reader a file needs: by what it contains, then by its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from microscopy.errors import ReadError
from microscopy.preprocess import MAX_PIXELS
from microscopy.readers.arrays import read_hdf5, read_npy, read_npz
from microscopy.readers.guard import guarded
from microscopy.readers.raster import read_picture, read_tif
from microscopy.readers.rosetta import read_rosetta
from microscopy.readers.signal import Signal


@dataclass(frozen=True)
class Format:
    """A file format: its name for people, its suffixes, and the function that lists its signals."""

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path], list[Signal]]


def _rosetta(module: str, **options: Any) -> Callable[[Path], list[Signal]]:
    return partial(read_rosetta, module=module, **options)


def _read_mrc(path: Path) -> list[Signal]:
    with path.open("rb") as stream:
        stamp = stream.read(216)[212:216]
    # Machine stamp 0x1111 marks big-endian numbers (MRC2014).
    return read_rosetta(path, "mrc", lazy=True, endianness=">" if stamp[:2] == b"\x11\x11" else "<")


def _read_velox(path: Path) -> list[Signal]:
    import h5py

    with h5py.File(path, "r") as file:
        images = [group["Data"] for group in file.get("Data/Image", {}).values() if "Data" in group]
        # RosettaSciIO reads lazily only what is stored in chunks, as Velox does; files repacked by others may not be.
        chunked = all(data.chunks for data in images)
        pixels = sum(data.size for data in images)
    if not chunked and pixels > 4 * MAX_PIXELS:
        raise ReadError(f"{path}: its images hold {pixels / 1e6:.0f} megapixels in one piece; export one of them")
    return read_rosetta(path, "emd", lazy=chunked, select_type="images")


def _read_prz(path: Path) -> list[Signal]:
    sizes = read_npz(path, only="data")
    problem = sizes[0].problem if sizes else None
    # The archive is compressed, so RosettaSciIO can only load it whole; oversized arrays stop at their header.
    return sizes if problem and "too large" in problem else read_rosetta(path, "pantarhei")


PICTURE = Format("PNG or JPEG", (".png", ".jpg", ".jpeg", ".bmp"), read_picture)
TIFF = Format("TIFF", (".tif", ".tiff"), read_tif)
NPY = Format("NumPy npy", (".npy",), read_npy)
NPZ = Format("NumPy npz", (".npz",), read_npz)
PRZ = Format("Panta Rhei prz", (".prz",), _read_prz)
DM = Format("DigitalMicrograph", (".dm3", ".dm4"), _rosetta("digitalmicrograph", lazy=True))
TIA = Format("TIA ser/emi", (".ser", ".emi"), _rosetta("tia", lazy=True))
MRC = Format("MRC", (".mrc",), _read_mrc)
VELOX = Format("Velox emd", (), _read_velox)
NCEM = Format("NCEM emd", (), _rosetta("emd", lazy=True))
HSPY = Format("HyperSpy hspy", (), _rosetta("hspy", lazy=True))
HDF5 = Format("HDF5", (".h5", ".hdf5", ".hdf", ".he5", ".emd", ".hspy"), read_hdf5)

FORMATS = (DM, VELOX, NCEM, TIA, MRC, HSPY, PRZ, TIFF, NPY, NPZ, HDF5, PICTURE)

_MAGIC = (
    (b"\x89PNG", PICTURE),
    (b"\xff\xd8\xff", PICTURE),
    (b"\x89HDF\r\n", HDF5),
    (b"\x93NUMPY", NPY),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
    (b"II+\x00", TIFF),
    (b"MM\x00+", TIFF),
    (b"PK\x03\x04", NPZ),
    (b"\x00\x00\x00\x03", DM),
    (b"\x00\x00\x00\x04", DM),
)
"""First bytes of the formats that have telling ones."""


def list_signals(path: Path) -> tuple[Format, list[Signal]]:
    """Recognise a file and list every signal in it, pixels not yet loaded.

    Raises
    ------
    ReadError
        If the file is missing, empty, of no known format, damaged, or holds no array.
    """
    file_format = _recognise(path)
    with guarded(path, file_format.name):
        signals = file_format.read(path)
    if not signals and path.suffix.lower() == ".emi":
        raise ReadError(f"{path}: holds no image; the .ser files with its pixels must lie beside it")
    if not signals:
        raise ReadError(f"{path}: holds no image that can be read as {file_format.name}")
    return file_format, signals


def _recognise(path: Path) -> Format:
    with guarded(path, "a file"):
        if not path.exists():
            raise ReadError(f"{path}: no such file")
        if path.is_dir():
            raise ReadError(f"{path}: is a folder; give the files in it")
        if not path.is_file():
            raise ReadError(f"{path}: is not a regular file")
        if path.stat().st_size == 0:
            raise ReadError(f"{path}: is empty")
        with path.open("rb") as stream:
            head = stream.read(16)
    suffix = path.suffix.lower()
    named = next((f for f in FORMATS if suffix in f.suffixes), None)
    found = next((f for magic, f in _MAGIC if head.startswith(magic)), None)
    if found is HDF5:
        with guarded(path, "HDF5"):
            return _hdf5_flavour(path)
    if found is NPZ and named is PRZ:
        return PRZ
    if found is not None and not (found is DM and named is not None):
        return found
    if named is None:
        known = ", ".join(sorted(s.lstrip(".") for f in FORMATS for s in f.suffixes))
        raise ReadError(f"{path}: unknown file type {suffix or '(no suffix)'}; AutoMat reads {known}")
    if named in (PICTURE, TIFF, NPY, NPZ, PRZ, HDF5):
        content = "text" if head.isascii() and b"\x00" not in head else "something else"
        raise ReadError(f"{path}: is not {_article(named.name)} file although its name says so; it holds {content}")
    return named


def _article(name: str) -> str:
    return f"an {name}" if name.startswith(("HDF", "npy")) else f"a {name}"


def _hdf5_flavour(path: Path) -> Format:
    """Velox, NCEM (with Prismatic and py4DSTEM), HyperSpy, or plain HDF5."""
    import h5py
    from rsciio.emd import _api as emd

    with h5py.File(path, "r") as file:
        if other := _elsewhere(file):
            raise ReadError(f"{path}: {other} is in another file, which is not read; save everything in one")
        if file.attrs.get("file_format") == "HyperSpy" or "Experiments" in file:
            return HSPY
        if "Version" in file and "Data" in file and emd.is_EMD_Velox(file):
            return VELOX
        return NCEM if emd.is_EMD_NCEM(file) else HDF5


def _elsewhere(file: Any) -> str | None:
    """Name of a part of an HDF5 file that would be read from another one, which may be any of this machine."""
    import h5py

    def linked(name: str, link: Any) -> str | None:
        return name if isinstance(link, h5py.ExternalLink) else None

    def stored(name: str, node: Any) -> str | None:
        if not isinstance(node, h5py.Dataset):
            return None
        virtual = node.is_virtual and any(source.file_name != "." for source in node.virtual_sources())
        return name if node.external or virtual else None

    return file.visititems_links(linked) or file.visititems(stored)
