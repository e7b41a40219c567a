"""The whole pipeline with nothing faked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ase.io import read

from flows.cli import DEMO
from flows.reconstruct import reconstruct_file
from flows.settings import load_settings
from library.store import open_libraries
from microscopy.micrograph import Modality
from microscopy.optics import Optics
from microscopy.simulation import SimulationOptions, simulate_to_file
from planning.records import Status


@pytest.mark.prefect
def test_a_simulated_monolayer_comes_back(tmp_path: Path, cache: Path) -> None:
    library = open_libraries()
    truth = library.template(library.ids.index("1H-MX2:Mo-S")).structure
    truth.to(filename=str(tmp_path / "truth.cif"))
    options = SimulationOptions(
        optics=Optics(modality=Modality.IDPC), shape=(140, 180), pixel_size=(0.12, 0.12), dose=2e4, rotation=23.0
    )
    image, _ = simulate_to_file(tmp_path / "truth.cif", options, tmp_path / "image.tif")
    settings = load_settings(None, {"read": {"elements": ("Mo", "S"), "modality": "iDPC"}, "relaxation": False})

    outcome = reconstruct_file(image, settings, tmp_path / "runs")

    assert outcome.result.error is None
    assert outcome.result.status is Status.ACCEPTED
    found = outcome.result.structure
    assert found is not None
    assert (found.formula, found.layer_group) == ("MoS2", 78)
    assert found.a == pytest.approx(truth.lattice.a, rel=0.02)
    assert outcome.folder is not None
    written = read(outcome.folder / found.cif)
    assert written.get_chemical_formula("metal") == "MoS2"
    assert written.cell.lengths()[0] == pytest.approx(found.a, abs=1e-3)


@pytest.mark.slow
def test_the_demo_finds_its_own_truth(tmp_path: Path) -> None:
    truth = json.loads(DEMO.with_suffix(".json").read_text())["structure"]
    command = [sys.executable, "-m", "flows.cli", "demo", "--json", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["status"] == "accepted"
    assert told["structure"]["formula"] == truth["formula"]
    assert told["structure"]["layer_group"] == truth["layer_group"]
    assert told["energy"]["converged"]
