from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from microscope_files import lattice, write_imagej, write_velox

from microscopy.errors import ReadError
from microscopy.inspection import inspect_file
from microscopy.micrograph import Modality

IMAGE = lattice()


def test_everything_about_a_calibrated_image(tmp_path: Path) -> None:
    inspection = inspect_file(write_imagej(tmp_path / "a.tif", IMAGE, 0.02, 0.03, "nm"))
    (signal,) = inspection.signals
    assert inspection.format == "TIFF"
    assert len(inspection.sha256) == 64
    assert (signal.shape, signal.dtype, signal.channels) == ((72, 96), "float32", 1)
    assert signal.stored_pixel_size == "0.02 nm × 0.03 nm"
    assert signal.pixel_size == pytest.approx((0.2, 0.3))
    assert signal.field_of_view == pytest.approx((72 * 0.02, 96 * 0.03))
    assert signal.range == pytest.approx((float(IMAGE.min()), float(IMAGE.max())))
    assert signal.usable


def test_all_signals_of_a_velox_file_with_what_each_is_good_for(tmp_path: Path) -> None:
    vector = (IMAGE + 1j * IMAGE).astype(np.complex64)
    images = {"HAADF": np.stack([IMAGE, IMAGE + 1]), "DPC": vector, "FFT": vector, "BF": IMAGE[:20, :30]}
    inspection = inspect_file(write_velox(tmp_path / "v.emd", images, 2e-11))
    assert inspection.format == "Velox emd"
    assert inspection.beam_energy == 300e3
    stack, dpc, fft, small = inspection.signals
    assert (stack.shape, stack.modality, stack.usable) == ((2, 72, 96), Modality.HAADF, True)
    assert "--frame" in stack.notes[0]
    assert (dpc.modality, dpc.usable, dpc.range) == (Modality.IDPC, True, None)
    assert "integrated" in dpc.notes[0]
    assert "not a real-space image" in (fft.problem or "")
    assert "too small" in (small.problem or "")


def test_oversized_signals_are_listed_unread(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "big.h5", "w") as file:
        file.create_dataset("huge", shape=(12_000, 12_000), dtype="f4", chunks=(500, 500))
        file["small"] = IMAGE
    huge, small = inspect_file(tmp_path / "big.h5").signals
    assert huge.range is None
    assert "too large" in (huge.problem or "")
    assert small.usable


def test_a_file_of_no_known_format_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(b"PKxx")
    with pytest.raises(ReadError, match="unknown file type"):
        inspect_file(tmp_path / "a.docx")
