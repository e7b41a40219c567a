from dataclasses import replace

import numpy as np
import pytest
from images import graphene, linear_image, mos2

from library.store import open_libraries
from microscopy.errors import CalibrationError
from reconstruction.calibrate import estimate_pixel_size


@pytest.fixture(scope="module")
def library():
    return open_libraries()


@pytest.mark.parametrize("pixel", [0.09, 0.16, 0.22])
@pytest.mark.parametrize(
    ("structure", "elements"), [(mos2(3.18), ("Mo", "S")), (graphene(), ("C",))], ids=["MoS2", "C"]
)
def test_the_scale_follows_from_the_lattice(library, structure, elements, pixel):
    image, _ = linear_image(structure, pixel=pixel, noise=0.2)
    estimate = estimate_pixel_size(replace(image, pixel_size=None, elements=elements), library)
    assert estimate.formula == structure.composition.reduced_formula
    assert estimate.pixel_size[0] == pytest.approx(pixel, rel=0.02)


def test_without_elements_the_flag_is_named(library):
    image, _ = linear_image(mos2())
    with pytest.raises(CalibrationError, match=r"--pixel-size Å.*--elements"):
        estimate_pixel_size(replace(image, pixel_size=None), library)


def test_noise_gives_no_estimate(library):
    image, _ = linear_image(mos2())
    noise = np.random.default_rng(0).normal(size=image.image.shape).astype(np.float32)
    with pytest.raises(CalibrationError, match="no lattice"):
        estimate_pixel_size(replace(image, image=noise, pixel_size=None, elements=("Mo", "S")), library)
