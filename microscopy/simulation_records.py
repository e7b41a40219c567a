"""How a structure is imaged, and what its image then really shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from pymatgen.core.structure import Structure

from microscopy.defects import Defect
from microscopy.errors import SimulationError
from microscopy.micrograph import Micrograph
from microscopy.optics import Optics
from microscopy.slab import plane_cell

MAX_SIDE = 8192
"""Pixels: a larger field of view is refused, as its signal would not fit a common machine."""


@dataclass(frozen=True)
class SimulationOptions:
    """How to image a structure.

    Attributes
    ----------
    optics
        Probe and detector; its modality decides what is recorded.
    shape
        (H, W) in pixels.
    pixel_size
        (y, x) in Å.
    dose
        Electrons per Å², or None for no noise.
    rotation
        Degrees from the slab's x axis to its image, positive from +x (columns) towards +y (rows).
    mirror
        Look at the other side: the crystal is turned about its y axis before it is rotated.
    affine
        Rows of a 2x2 matrix that acts on image (x, y) after rotation: any further linear distortion of the scan.
    origin
        Where the slab's origin appears, (x, y) in Å from the centre of the first pixel; None draws it from the seed.
    detector_rotation
        Degrees from the image's x axis to the centre of a quadrant, or None for a detector whose axes are those of
        the slab. None needs one multislice for all rotations; it matters little, and only for quadrants.
    thermal_sigma
        Å rms of thermal motion per axis. Atoms of a monolayer scatter one by one, so the average over their
        displacements is the image convolved with their distribution. 0 is a static lattice.
    seed
        Of everything random. Each use has a stream of its own: adding an artefact leaves the rest unchanged.
    artefacts
        Strength by name, see ``artefacts.ARTEFACTS``.
    """

    optics: Optics = field(default_factory=Optics)
    shape: tuple[int, int] = (512, 512)
    pixel_size: tuple[float, float] = (0.1, 0.1)
    dose: float | None = None
    rotation: float = 0.0
    mirror: bool = False
    affine: tuple[tuple[float, float], tuple[float, float]] = ((1.0, 0.0), (0.0, 1.0))
    origin: tuple[float, float] | None = None
    detector_rotation: float | None = None
    thermal_sigma: float = 0.0
    seed: int = 0
    artefacts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Truth:
    """What an image really shows. Image frame, in the Å of the pixel size that the micrograph states.

    Attributes
    ----------
    structure
        The slab that was imaged, undistorted.
    matrix
        From slab (x, y) to image (x, y), shape (2, 2): rotation, mirror, distortion, calibration error, mean drift.
    origin
        Where the slab's origin appears, (x, y) in Å from the centre of the first pixel.
    options
        As given.
    defects
        Missing and replaced atoms within the field of view.
    """

    structure: Structure
    matrix: Float[np.ndarray, "2 2"]
    origin: Float[np.ndarray, " 2"]
    options: SimulationOptions
    defects: tuple[Defect, ...] = ()

    @property
    def cell(self) -> Float[np.ndarray, "2 2"]:
        """Rows a, b of the slab as they appear, (x, y) in Å."""
        return plane_cell(self.structure) @ self.matrix.T

    @property
    def positions(self) -> Float[np.ndarray, "N 2"]:
        """Where the sites of one cell appear, (x, y) in Å."""
        return np.asarray(self.structure.frac_coords[:, :2] @ self.cell + self.origin)

    def to_json(self) -> dict[str, Any]:
        """JSON-compatible content; the structure itself travels as CIF."""
        return {
            "formula": self.structure.composition.reduced_formula,
            "cell": self.cell.tolist(),
            "origin": self.origin.tolist(),
            "matrix": self.matrix.tolist(),
            "sites": [
                {"element": site.specie.symbol, "position": position.tolist()}
                for site, position in zip(self.structure, self.positions, strict=True)
            ],
            "defects": [asdict(defect) for defect in self.defects],
            "options": asdict(replace(self.options, artefacts=dict(self.options.artefacts))),
        }


@dataclass(frozen=True, eq=False)
class Simulation:
    """A simulated micrograph and its truth."""

    micrograph: Micrograph
    truth: Truth


def check(options: SimulationOptions) -> None:
    """Look at all options but the artefacts.

    Raises
    ------
    SimulationError
        For the first that cannot be.
    """
    wrong = [
        (min(options.shape) < 1 or max(options.shape) > MAX_SIDE, f"shape {options.shape}: sides from 1 to {MAX_SIDE}"),
        (not all(0 < p < np.inf for p in options.pixel_size), f"pixel size {options.pixel_size} Å: must be positive"),
        (options.dose is not None and not 0 < options.dose < np.inf, f"dose {options.dose} e/Å²: must be positive"),
        (not np.isfinite(options.rotation), f"rotation {options.rotation}: must be a finite number of degrees"),
        (not abs(np.linalg.det(np.asarray(options.affine))) > 0.1, f"affine {options.affine}: collapses the plane"),
        (not 0 <= options.thermal_sigma < 1, f"thermal sigma {options.thermal_sigma} Å: from 0 to 1"),
        (options.seed < 0, f"seed {options.seed}: must not be negative"),
    ]
    for is_wrong, message in wrong:
        if is_wrong:
            raise SimulationError(message)
