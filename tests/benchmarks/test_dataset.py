"""The images of a suite as files: all of them, with their truth, and the same every time."""

import hashlib
import json

import numpy as np
from monolayers import MONOLAYERS

from benchmarks.cases import Case
from benchmarks.dataset import write_dataset
from benchmarks.evaluate import parsed
from benchmarks.materials import Material
from benchmarks.metrics import score
from benchmarks.results import Plan
from microscopy.readers import read_micrograph


def test_images_truth_and_manifest(tmp_path):
    """Of the protocol's images, which need no multislice; one case cannot be made."""
    material = Material("h-BN", MONOLAYERS["h-BN"][0])
    cases = [Case("h-BN", (), noise=level, shape=(256, 256), pixel_size=0.15) for level in ("low", "high")]
    cases.append(Case("h-BN", (), dose=-1.0))
    places = {"cells": str(tmp_path / "cells"), "libraries": [], "displaced": None}
    plan = Plan("x", 1, {"h-BN": material}, {c.key: c for c in cases}, {"bench": places})
    told = []
    manifest = json.loads(write_dataset(plan, tmp_path / "a", lambda *news: told.append(news)).read_text())
    assert [done for _, done, _ in told] == [1, 2, 3]
    *made, failed = manifest["images"]
    assert "dose" in failed["error"]
    assert len({entry["sha256"] for entry in made}) == 2
    for entry in made:
        path = tmp_path / "a" / entry["image"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
        assert np.allclose(read_micrograph(path).pixel_size, 0.15)
        truth = parsed((tmp_path / "a" / entry["truth"]).read_text())
        assert score(truth, material.structure).success
        area = abs(np.linalg.det(entry["cell"]))
        assert np.isclose(area, material.area)
    again = json.loads(write_dataset(plan, tmp_path / "b", lambda *_: None).read_text())
    assert again == manifest
