"""Micrographs of real specimens: the right crystal, or no answer that is stood by. They are not part of the project."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2].parent / "shared" / "data" / "micrographs"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the folder of real micrographs is not here"),
]


def answer(name: str, pixel_size: str, folder: Path, *options: str) -> dict[str, Any]:
    """What is said of a HAADF image; its file gives the pixel size where none is given here."""
    known = ("--pixel-size", pixel_size) if pixel_size else ()
    command = (sys.executable, "-m", "flows.cli", "reconstruct", str(FOLDER / name), "--no-relax", "--json")
    asked = (*command, "--modality", "haadf", *known, *options)
    told = subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=False)
    return dict(json.loads(told.stdout))


@pytest.mark.parametrize(
    ("name", "pixel_size"),
    [
        ("scilink_MoS2_000-2.npy", "0.17578125"),
        ("scilink_MoS2_001-5.npy", "0.13671875"),
        ("temul_Se_implanted_MoS2.dm3", ""),
    ],
)
def test_doped_molybdenum_disulfide_is_found_and_its_scale_doubted(name, pixel_size, tmp_path):
    told = answer(name, pixel_size, tmp_path, "--elements", "Mo,S")
    assert told["structure"]["formula"] == "MoS2"
    assert told["structure"]["layer_group_symbol"] == "p-6m2"
    assert told["structure"]["a"] == pytest.approx(3.19, abs=0.03)
    assert told["calibration"]["warning"]


@pytest.mark.parametrize(
    ("name", "pixel_size"),
    [
        ("atomap_STO_ADF_cropped.hdf5", "0.15"),
        ("ingrained_CdTe110_tilt_HAADF149.dm3", ""),
        ("ai4stem_Fe_bcc_100.npy", "0.1"),
        ("atomsegnet_Si110_5nmX25us_03_none_none.png", "0.1"),
        ("atomsegnet_Grain_boundry_gold_512px.png", "0.1"),
    ],
)
def test_bulk_crystals_are_never_taken_for_a_monolayer(name, pixel_size, tmp_path):
    assert answer(name, pixel_size, tmp_path)["status"] != "accepted"
