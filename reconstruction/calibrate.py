"""A pixel size for images that have none, from the template that fits best: an estimate, and called so."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from library.store import Library
from microscopy.errors import CalibrationError
from microscopy.micrograph import Micrograph
from microscopy.slab import plane_cell
from reconstruction.alignment import align
from reconstruction.lattice import find_lattice
from reconstruction.measurement import Measurement, measure
from reconstruction.records import ImageLattice
from reconstruction.registration import refine

PROVISIONAL = 0.15
"""Å per pixel while the true size is unknown: lattices are then looked for from 8 to 280 pixels."""

PLAUSIBLE = (0.02, 0.6)
"""Å per pixel of an atomic-resolution image: finer is empty magnification, coarser does not resolve atoms."""

SHAPE = 0.1
"""Largest relative deformation, scale apart, between a template's cell and the image's."""

MAX_INDEX = 4
"""Largest crystal cell tried, in cells of the projected lattice."""

GOOD_FIT = 0.9
"""Correlation below which no template explains the image, whatever its scale."""


@dataclass(frozen=True)
class PixelEstimate:
    """Å per pixel (y, x), the template it comes from, and how well that template fits at this scale."""

    pixel_size: tuple[float, float]
    template: str
    formula: str
    correlation: float


def calibrated(micrograph: Micrograph, library: Library, accept: bool) -> Micrograph:
    """Give an uncalibrated micrograph the estimated pixel size, if the user accepts one.

    Raises
    ------
    CalibrationError
        With the estimate and the flag to give, when estimates are not accepted; or when none can be made.
    """
    found = estimate_pixel_size(micrograph, library)
    size = found.pixel_size[0]
    origin = f"{size:.4g} Å, estimated from {found.formula} ({found.template}, correlation {found.correlation:.2f})"
    if not accept:
        offer = f"take the estimate with --pixel-size estimate: {origin}"
        raise CalibrationError(f"{_uncalibrated(micrograph)}, or {offer}")
    return replace(
        micrograph,
        pixel_size=found.pixel_size,
        pixel_size_source="estimate",
        notices=(*micrograph.notices, f"pixel size {origin}: lengths are no better than this guess"),
    )


def estimate_pixel_size(micrograph: Micrograph, library: Library) -> PixelEstimate:
    """Estimate the pixel size from the templates with the elements or formula that the user gave.

    Parameters
    ----------
    micrograph
        Without a pixel size; square pixels are assumed.
    library
        Templates.

    Raises
    ------
    CalibrationError
        If no elements are given, the image has no lattice, or no template explains it at any scale.
    """
    flag = _uncalibrated(micrograph)
    if not micrograph.elements and not micrograph.formula:
        raise CalibrationError(f"{flag} (with --elements or --formula an estimate from the best template can be made)")
    image = replace(micrograph, pixel_size=(PROVISIONAL, PROVISIONAL))
    lattice = find_lattice(image, 0.49 / PROVISIONAL)
    if lattice is None:
        raise CalibrationError(f"{flag} (no lattice was found from which to estimate it)")
    best: PixelEstimate | None = None
    for row in library.rows(elements=micrograph.elements, formula=micrograph.formula):
        template = library.template(int(row))
        area = abs(float(np.linalg.det(plane_cell(template.structure))))
        for index in range(1, MAX_INDEX + 1):
            scale = float(np.sqrt(area / (index * abs(np.linalg.det(lattice.vectors)))))
            if not PLAUSIBLE[0] <= PROVISIONAL * scale <= PLAUSIBLE[1]:
                continue
            measurement = _at_scale(image, lattice, scale)
            for alignment in align(template.structure, measurement, SHAPE, keep=1):
                fit = refine(template.structure, alignment, measurement)
                if best is None or fit.correlation > best.correlation:
                    size = PROVISIONAL * scale
                    best = PixelEstimate((size, size), template.id, template.formula, fit.correlation)
    if best is None or best.correlation < GOOD_FIT:
        raise CalibrationError(f"{flag} (no template with these elements explains the image at any scale)")
    return best


def _uncalibrated(micrograph: Micrograph) -> str:
    return f"{micrograph.source}: no pixel size in the file; give it with --pixel-size Å"


def _at_scale(image: Micrograph, lattice: ImageLattice, scale: float) -> Measurement:
    """The same measurement if pixels were larger by a factor."""
    size = (PROVISIONAL * scale, PROVISIONAL * scale)
    scaled = replace(image, pixel_size=size)
    return measure(
        scaled, replace(lattice, vectors=lattice.vectors * scale, standard_errors=lattice.standard_errors * scale)
    )
