"""Plain arrays: npy, npz and HDF5 of no particular convention. Shapes come from headers, pixels only on demand."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from microscopy.calibration import Axis
from microscopy.errors import ReadError
from microscopy.preprocess import MIN_SIDE
from microscopy.readers.signal import Signal


def read_npy(path: Path) -> list[Signal]:
    """List the array of an npy file, memory-mapped; pickled objects are refused."""
    with path.open("rb") as stream:
        shape, dtype = _header(stream, path)
    return [array_signal("array", shape, dtype, lambda: np.load(path, mmap_mode="r", allow_pickle=False))]


def read_npz(path: Path, only: str | None = None) -> list[Signal]:
    """List every array of an npz archive by name, or ``only`` one of them."""
    signals = []
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            name = member.removesuffix(".npy")
            if name == member or only not in (None, name):
                continue
            with archive.open(member) as stream:
                shape, dtype = _header(stream, path)
            if len(shape) < 2:
                continue  # scalars and vectors saved beside the image
            signals.append(array_signal(name, shape, dtype, lambda name=name: _npz_member(path, name)))
    return signals


def read_hdf5(path: Path) -> list[Signal]:
    """List every numeric dataset of two or more dimensions, by its path in the file."""
    import h5py

    found: list[Signal] = []

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and node.ndim >= 2 and node.dtype.kind in "biufc":
            found.append(array_signal(name, node.shape, node.dtype, lambda: _dataset(path, name), whole=False))

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


def array_signal(name: str, shape: tuple[int, ...], dtype: np.dtype, open_array: Any, whole: bool = True) -> Signal:
    """Signal of an uncalibrated array; axes of length one are dropped, a last axis of 3 or 4 bytes is colour."""
    keep = tuple(n for n in shape if n != 1) if len(shape) > 2 else tuple(shape)
    colour = len(keep) == 3 and keep[-1] in (3, 4) and dtype == np.uint8 and min(keep[:2]) >= MIN_SIDE

    def load(frame: int) -> np.ndarray:
        values = open_array() if whole else open_array()(keep, frame, colour)
        if whole:
            values = np.reshape(values, keep)
            values = values[frame] if len(keep) == 3 and not colour else values
        return np.array(values)

    image_shape = keep[:2] if colour else keep
    return Signal(
        name=name,
        shape=tuple(int(n) for n in image_shape),
        dtype=dtype,
        axes=tuple(Axis(int(n)) for n in image_shape),
        load=load,
        channels=keep[-1] if colour else 1,
    )


def _dataset(path: Path, name: str) -> Any:
    """Make a function that reads one frame of a dataset without the rest of the stack."""

    def take(keep: tuple[int, ...], frame: int, colour: bool) -> np.ndarray:
        import h5py

        with h5py.File(path, "r") as file:
            dataset = file[name]
            if len(keep) == 3 and not colour:
                index = tuple(0 if n == 1 else slice(None) for n in dataset.shape)
                first = next(k for k, n in enumerate(dataset.shape) if n != 1)
                return np.asarray(dataset[(*index[:first], frame, *index[first + 1 :])])
            return np.reshape(dataset[()], keep)

    return take


def _npz_member(path: Path, name: str) -> np.ndarray:
    with np.load(path, allow_pickle=False) as archive:
        return np.asarray(archive[name])


def _header(stream: Any, path: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type from an npy header, without reading the data."""
    version = np.lib.format.read_magic(stream)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(stream)
    if dtype.hasobject:
        raise ReadError(f"{path}: holds pickled Python objects, which are never loaded; save a numeric array")
    return shape, dtype
