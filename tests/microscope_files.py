"""Small files of every kind, written as microscopes and their software write them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import h5py
import numpy as np
import tifffile


def lattice(height: int = 72, width: int = 96, seed: int = 3) -> np.ndarray:
    """A noisy square lattice of dots, float32, non-square on purpose."""
    y, x = np.mgrid[:height, :width]
    dots = (np.cos(2 * np.pi * x / 11) + 1) * (np.cos(2 * np.pi * y / 9) + 1)
    return (40 + 42 * dots + np.random.default_rng(seed).normal(0, 5, dots.shape)).astype(np.float32)


def write_imagej(path: Path, image: np.ndarray, step_y: float, step_x: float, unit: str) -> Path:
    tifffile.imwrite(path, image, imagej=True, resolution=(1 / step_x, 1 / step_y), metadata={"unit": unit})
    return path


def write_dm_tif(path: Path, image: np.ndarray, step_y: float, step_x: float, unit: str) -> Path:
    """A tif with Gatan's private tags; DigitalMicrograph counts x first."""
    extra = [
        (65003, "s", 0, unit, True),
        (65004, "s", 0, unit, True),
        (65009, "d", 1, step_x, True),
        (65010, "d", 1, step_y, True),
    ]
    tifffile.imwrite(path, image, extratags=extra)
    return path


def write_mrc(path: Path, image: np.ndarray, step_y: float, step_x: float) -> Path:
    """An MRC2014 file in mode 2 (float32); cell lengths are in Å."""
    height, width = image.shape
    header = bytearray(1024)
    struct.pack_into("<10i", header, 0, width, height, 1, 2, 0, 0, 0, width, height, 1)
    struct.pack_into("<3f", header, 40, width * step_x, height * step_y, 1.0)
    struct.pack_into("<3i", header, 64, 1, 2, 3)
    header[208:216] = b"MAP \x44\x44\x00\x00"
    path.write_bytes(bytes(header) + image.astype("<f4").tobytes())
    return path


def signal_dict(image: np.ndarray, step_y: float, step_x: float, unit: str, title: str = "HAADF") -> dict:
    """What RosettaSciIO's writers take."""
    steps = [1.0] * (image.ndim - 2) + [step_y, step_x]
    units = [""] * (image.ndim - 2) + [unit, unit]
    axes = [
        {
            "_type": "UniformDataAxis",
            "name": "zyx"[k - image.ndim],
            "size": size,
            "scale": steps[k],
            "offset": 0.0,
            "units": units[k],
            "navigate": k < image.ndim - 2,
            "is_binned": False,
            "index_in_array": k,
        }
        for k, size in enumerate(image.shape)
    ]
    metadata = {"General": {"title": title}, "Signal": {"signal_type": ""}, "_HyperSpy": {}}
    return {
        "data": image,
        "axes": axes,
        "metadata": metadata,
        "original_metadata": {"Acquisition": {"gain": np.float32(2.5), "comment": "µ"}},
        "attributes": {"_lazy": False, "ragged": False},
        "learning_results": {},
        "tmp_parameters": {},
        "models": {},
        "package_info": {"package": "hyperspy", "package_version": "2.0"},
    }


_COMPLEX = np.dtype([("realFloat", "<f4"), ("imagFloat", "<f4")])
_FFT = np.dtype([("realFloatHalfEven", "<f4"), ("imagFloatHalfEven", "<f4")])


def write_velox(
    path: Path, images: dict[str, np.ndarray], step: float, convergence: float = 0.0213, chunked: bool = True
) -> Path:
    """A Velox file of several detectors, (H, W) or (frames, H, W), pixel size ``step`` in m."""
    operations = {"StemInputOperation": {}, "DpcOperation": {}, "FftOperation": {}}
    with h5py.File(path, "w") as file:
        file["Version"] = np.array([json.dumps({"format": "Velox", "version": "7"}).encode()], dtype=object)
        for index, (name, image) in enumerate(images.items()):
            key = f"{index:032x}"
            group = file.create_group(f"Data/Image/{key}")
            stack = image if image.ndim == 3 else image[None]
            if np.iscomplexobj(stack):
                fields = np.zeros(stack.shape, dtype=_FFT if name == "FFT" else _COMPLEX)
                fields[fields.dtype.names[0]], fields[fields.dtype.names[1]] = stack.real, stack.imag
                stack = fields
            group.create_dataset(
                "Data", data=np.moveaxis(stack, 0, -1), chunks=(*stack.shape[1:], 1) if chunked else None
            )
            unit = "1/m" if name == "FFT" else "m"
            text = json.dumps(
                {
                    "Acquisition": {"AcquisitionStartDatetime": {"DateTime": "1500000000"}},
                    "Optics": {"AccelerationVoltage": "300000", "BeamConvergence": str(convergence)},
                    "BinaryResult": {
                        "DetectorIndex": "0",
                        "PixelSize": {"width": str(step), "height": str(step)},
                        "Offset": {"x": "0", "y": "0"},
                        "PixelUnitX": unit,
                    },
                    "Detectors": {"Detector-0": {"DetectorName": name}},
                    "Scan": {"FrameTime": "0.5"},
                    "CustomProperties": {},
                    "Instrument": {},
                }
            ).encode()
            metadata = np.zeros((len(text) + 1, stack.shape[0]), dtype=np.uint8)
            metadata[: len(text)] = np.frombuffer(text, dtype=np.uint8)[:, None]
            group["Metadata"] = metadata
            entry = {"dataPath": f"/Data/Image/{key}", "imageOutputPath": f"/Data/Image/{key}", "detector": name}
            kind = {"DPC": "DpcOperation", "FFT": "FftOperation"}.get(name, "StemInputOperation")
            operations[kind][key] = entry
        for kind, entries in operations.items():
            for key, entry in entries.items():
                file[f"Operations/{kind}/{key}"] = np.array([json.dumps(entry).encode()], dtype=object)
    return path
