"""The bundled micrograph is what its manifest says, and can be made again."""

import hashlib
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import tifffile

import microscopy
from microscopy.micrograph import Modality
from microscopy.optics import Optics
from microscopy.readers import read_micrograph
from microscopy.simulation import SimulationOptions, simulate_to_file

DATA = Path(microscopy.__file__).parent / "data"


@pytest.fixture(scope="module")
def manifest():
    return json.loads((DATA / "demo.json").read_text(encoding="utf-8"))


def options_of(command: str) -> SimulationOptions:
    """The options behind ``automat simulate …``."""
    words = shlex.split(command)
    assert words[:3] == ["automat", "simulate", "microscopy/data/demo.cif"]
    pairs = list(zip(words[3::2], words[4::2], strict=True))
    given = {name.lstrip("-"): value for name, value in pairs if name != "--artefact"}
    artefacts = [value.split("=") for name, value in pairs if name == "--artefact"]
    height, width = map(int, given["shape"].split(","))
    return SimulationOptions(
        optics=Optics(),
        shape=(height, width),
        pixel_size=(float(given["pixel-size"]),) * 2,
        dose=float(given["dose"]),
        rotation=float(given["rotation"]),
        seed=int(given["seed"]),
        artefacts={name: float(value) for name, value in artefacts},
    )


@pytest.mark.parametrize("part", ["image", "structure"])
def test_digests(manifest, part):
    content = (DATA / manifest[part]["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == manifest[part]["sha256"]
    assert len(content) < 700_000


def test_the_command_makes_the_image_again(manifest, tmp_path):
    path, truth = simulate_to_file(DATA / "demo.cif", options_of(manifest["command"]), tmp_path / "demo.tif")
    made, kept = tifffile.imread(path).astype(float), tifffile.imread(DATA / "demo.tif").astype(float)
    assert kept.shape == tuple(manifest["image"]["shape"])
    # Another processor may round the last bit of a fraction differently, and so draw another count here and there.
    assert np.corrcoef(made.ravel(), kept.ravel())[0, 1] > 0.999
    written = json.loads(truth.read_text())
    np.testing.assert_allclose(written["cell"], manifest["truth"]["cell"])
    np.testing.assert_allclose(written["origin"], manifest["truth"]["origin"])


def test_the_file_says_how_it_was_recorded():
    micrograph = read_micrograph(DATA / "demo.tif")
    assert micrograph.modality is Modality.IDPC
    assert micrograph.pixel_size == pytest.approx((0.11, 0.11))
    assert (micrograph.beam_energy, micrograph.convergence_angle, micrograph.dose) == (300e3, 21.3, 30000)
