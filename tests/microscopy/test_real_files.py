"""Files from real microscopes: each is read with the right shape and pixel size, or refused with one clear line.

The expected numbers are those of the files' own tags, checked by hand. The files are not part of the project.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from microscopy.errors import ReadError
from microscopy.inspection import inspect_file
from microscopy.micrograph import Modality
from microscopy.readers import ReadOptions, read_micrograph

DATA = Path(__file__).parents[2].parent / "shared" / "data"

pytestmark = pytest.mark.skipif(not (DATA / "formats").is_dir(), reason="the folder of real files is not here")


@dataclass(frozen=True)
class Expected:
    """What a file holds: signal 0 as listed, and the refusal or None. Pixel size in Å, square; energy in eV."""

    shape: tuple[int, ...]
    pixel_size: float | None = None
    refusal: str | None = None
    modality: Modality = Modality.UNKNOWN
    beam_energy: float | None = None


SMALL = "too small"

FILES = {
    "formats/SciFiReaders_SpectrumImage_Si.emd": Expected((16, 16), 53.02415, SMALL, Modality.HAADF, 200e3),
    "formats/nionswift-io_ref_T_0_2.dm3": Expected((3, 4, 5), None, SMALL),
    "formats/nionswift-io_ref_T_0_2.dm4": Expected((3, 4, 5), None, SMALL),
    "formats/pyTEMlib_AL-DFoffset0.00.dm3": Expected((2048,), None, "one-dimensional", beam_energy=199990.28),
    "formats/rosettasciio_03_Scanning Preview.emi": Expected((5, 128, 128), 3.843525, "stack of 5 images"),
    "formats/rosettasciio_03_Scanning Preview_1.ser": Expected((5, 128, 128), 3.843525, "stack of 5 images"),
    "formats/rosettasciio_HAADFscan.mrc": Expected((16, 16), 56.79131, SMALL),
    "formats/rosettasciio_Si100_3D.emd": Expected((37, 22, 22), 2.5, SMALL),
    "formats/rosettasciio_example2_v3.1.hspy": Expected((16, 16), None, "not a real-space image", beam_energy=200e3),
    "formats/rosettasciio_example_image.emd": Expected((3, 3), None, SMALL),
    "formats/rosettasciio_fei_example_dpc_titles.emd": Expected((2, 2), 0.9961992, SMALL, beam_energy=300e3),
    "formats/rosettasciio_multi_signal.dm3": Expected((512, 512), 0.1775158, None, Modality.HAADF, 300e3),
    "formats/rosettasciio_panta_rhei_sample.prz": Expected((16, 16), 77.95828, SMALL, beam_energy=200e3),
    "formats/rosettasciio_test-MonarcCL_mono-image.dm4": Expected((2, 2), 183253.5, SMALL, beam_energy=3e3),
    "formats/rosettasciio_test_STEM_image.dm3": Expected((68, 68), 2.485380, beam_energy=200e3),
    "formats/rosettasciio_test_loading_image_saved_with_DM.tif": Expected((68, 68), 1686.747),
    "formats/rosettasciio_test_loading_image_saved_with_imageJ.tif": Expected((68, 68), 1686.747),
    "micrographs/ai4stem_Fe_bcc_100.npy": Expected((512, 512)),
    "micrographs/atomap_STO_ABF_cropped.hdf5": Expected((400, 380)),
    "micrographs/atomap_STO_ADF_cropped.hdf5": Expected((400, 380)),
    "micrographs/atomsegnet_10_dso_8nm_none_none.png": Expected((1024, 1024)),
    "micrographs/atomsegnet_Grain_boundry_gold_512px.png": Expected((512, 512)),
    "micrographs/atomsegnet_Si110_5nmX25us_03_none_none.png": Expected((512, 512)),
    "micrographs/ingrained_CdTe110_tilt_HAADF149.dm3": Expected((512, 512), 0.1638835, None, Modality.HAADF, 200e3),
    "micrographs/inpystem_df_ref.dm4": Expected((512, 512), 0.5859375, None, Modality.ADF),
    "micrographs/scilink_MoS2_000-2.npy": Expected((512, 512)),
    "micrographs/scilink_MoS2_001-5.npy": Expected((512, 512)),
    "micrographs/temul_Se_implanted_MoS2.dm3": Expected((1024, 1024), 0.126953125, beam_energy=60e3),
}

NOT_IMAGES = {"micrographs/scilink_MoS2_000-2.json", "micrographs/scilink_MoS2_001-5.json"}


def test_the_table_is_complete() -> None:
    present = {str(p.relative_to(DATA)) for folder in ("formats", "micrographs") for p in (DATA / folder).iterdir()}
    assert present == FILES.keys() | NOT_IMAGES


@pytest.mark.parametrize("name", FILES)
def test_file(name: str) -> None:
    path, expected = DATA / name, FILES[name]
    inspection = inspect_file(path)
    first = inspection.signals[0]
    assert first.shape == expected.shape
    size = None if expected.pixel_size is None else pytest.approx((expected.pixel_size,) * 2, rel=1e-5)
    assert first.pixel_size == size
    assert first.modality is expected.modality
    assert inspection.beam_energy == (expected.beam_energy and pytest.approx(expected.beam_energy))
    if expected.refusal is not None:
        with pytest.raises(ReadError, match=expected.refusal) as caught:
            read_micrograph(path)
        assert "\n" not in str(caught.value)
        return
    micrograph = read_micrograph(path)
    assert micrograph.image.shape == expected.shape
    assert micrograph.image.dtype == np.float32
    assert np.isfinite(micrograph.image).all()
    assert micrograph.pixel_size == size
    assert micrograph.modality is expected.modality
    assert micrograph.sha256 == inspection.sha256


@pytest.mark.parametrize("name", sorted(NOT_IMAGES))
def test_notes_beside_images_are_refused(name: str) -> None:
    with pytest.raises(ReadError, match="unknown file type"):
        read_micrograph(DATA / name)


def test_frames_of_a_scan_preview() -> None:
    path = DATA / "formats" / "rosettasciio_03_Scanning Preview_1.ser"
    frames = [read_micrograph(path, ReadOptions(frame=k)).image for k in range(5)]
    mean = read_micrograph(path, ReadOptions(frame="mean"))
    np.testing.assert_allclose(mean.image, np.mean(frames, axis=0), rtol=1e-5)
    assert mean.pixel_size == pytest.approx((3.843525, 3.843525), rel=1e-5)


def test_the_digest_of_an_emi_covers_its_pixels() -> None:
    emi, ser = (DATA / "formats" / f"rosettasciio_03_Scanning Preview{end}" for end in (".emi", "_1.ser"))
    assert inspect_file(emi).sha256 != inspect_file(ser).sha256


def test_every_velox_channel_is_listed() -> None:
    signals = inspect_file(DATA / "formats" / "rosettasciio_fei_example_dpc_titles.emd").signals
    assert [s.name for s in signals if s.modality is Modality.IDPC] == ["DPC", "iDPC", "Filtered iDPC"]
    assert [s.name for s in signals if s.dtype == "complex64"] == ["DPC"]


def test_a_scale_without_a_unit_is_mentioned_not_used() -> None:
    micrograph = read_micrograph(DATA / "micrographs" / "atomap_STO_ADF_cropped.hdf5")
    assert any("0.00932627 has no unit" in notice for notice in micrograph.notices)
