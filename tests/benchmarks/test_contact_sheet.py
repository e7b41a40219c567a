"""Whatever can go wrong with an image is shown."""

import io
from dataclasses import replace

import numpy as np
import pytest
from monolayers import layer
from PIL import Image

from benchmarks import contact_sheet
from microscopy import supercell
from microscopy.artefacts import ARTEFACTS, LIMITS
from microscopy.micrograph import Modality
from microscopy.optics import Optics


def test_every_artefact_has_a_strength_within_its_limits():
    assert set(contact_sheet.SHOWN) == set(ARTEFACTS)
    assert all(LIMITS[name][0] <= value <= LIMITS[name][1] for name, value in contact_sheet.SHOWN.items())


@pytest.mark.slow
def test_the_sheet_is_a_picture_of_as_many_images(monkeypatch, tmp_path):
    monkeypatch.setattr(supercell, "WINDOW", 6.0)
    fast = Optics(Modality.ADF, convergence_angle=12.0, detector=(30.0, 60.0))
    monkeypatch.setattr(contact_sheet, "BASE", replace(contact_sheet.BASE, optics=fast, shape=(64, 64)))
    single = layer(3.0, 3.5, 90, [("Mo", 0.0, 0.0, 0.0), ("S", 0.5, 0.5, 0.0)])
    picture = np.asarray(Image.open(io.BytesIO(contact_sheet.contact_sheet(single, tmp_path))).convert("L"))
    assert picture.shape[1] > 1000
    assert picture.std() > 20
