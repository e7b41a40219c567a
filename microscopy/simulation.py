"""From a structure to a micrograph as a microscope would record it, with the truth beside it.

Order of events, as in the instrument: the probe visits its positions (scan distortion, drift, jitter), every detector
segment counts electrons there (multislice signal, contamination, shot noise), and only then are the counts combined:
for iDPC and phase images into the gradient of the phase, which is integrated over the field of view. Noise therefore
has the spectrum of a real image: white for one annular detector, growing as 1/q² in power for iDPC.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from pymatgen.core.structure import Structure
from pymatgen.io.cif import CifWriter

from microscopy.artefacts import contamination, quantised, strengths, tilted
from microscopy.detector import phase_gradient
from microscopy.errors import SimulationError
from microscopy.integration import integrate_dpc
from microscopy.micrograph import Micrograph
from microscopy.multislice import CellImage, cached_cell_images, cell_images
from microscopy.noise import poisson_counts
from microscopy.optics import Optics
from microscopy.scan import View, orthogonal_part, probe_positions, raster
from microscopy.slab import plane_cell
from microscopy.structures import load_structure
from microscopy.writers import TIFF_SUFFIXES, write_text, write_tiff

MAX_SIDE = 8192
"""Pixels: a larger field of view is refused, as its signal would not fit a common machine."""
_ROWS = 128  # scan lines sampled at once: bounds memory, and is part of the order in which noise is drawn


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
    """

    structure: Structure
    matrix: Float[np.ndarray, "2 2"]
    origin: Float[np.ndarray, " 2"]
    options: SimulationOptions

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
            "options": asdict(replace(self.options, artefacts=dict(self.options.artefacts))),
        }


@dataclass(frozen=True, eq=False)
class Simulation:
    """A simulated micrograph and its truth."""

    micrograph: Micrograph
    truth: Truth


def simulate(structure: Structure, options: SimulationOptions, cache: str | Path | None = None) -> Simulation:
    """Image a monolayer.

    Parameters
    ----------
    structure
        Slab in the convention of ``microscopy.slab``.
    options
        What to record, and how badly.
    cache
        Folder that keeps multislice results, so that another dose, seed or field of view costs no multislice.

    Returns
    -------
    Simulation
        The same input gives the same image. Units of the image: rad of phase for iDPC and phase, fraction of the beam
        for annular detectors; grey levels when quantised.

    Raises
    ------
    SimulationError
        For an unknown artefact, a value that cannot be, or a structure that cannot be imaged.
    """
    _check(options)
    artefacts = strengths(options.artefacts)
    specimen, foreshortening = tilted(structure, artefacts["tilt"])
    if options.mirror:
        specimen = _flipped(specimen)
    optics = replace(
        options.optics,
        defocus=options.optics.defocus + artefacts["defocus"],
        source_size=float(np.hypot(options.optics.source_size, artefacts["source_size"])),
    )
    turn = orthogonal_part(options.rotation, options.mirror)
    quadrants = _quadrant_angle(options, turn)
    if cache is None:
        point = cell_images(specimen, optics, detector_rotation=quadrants)
    else:
        point = cached_cell_images(specimen, optics, cache, detector_rotation=quadrants)
    cell = point.blurred(options.thermal_sigma)
    axes = turn @ orthogonal_part(quadrants, mirror=False)
    distortion = np.array([[1 + artefacts["scan_scale"], artefacts["scan_shear"]], [0.0, 1.0]])
    matrix = distortion @ np.asarray(options.affine) @ turn
    view = View(matrix @ foreshortening, _origin(options, matrix, plane_cell(structure)))
    drift = artefacts["drift"] * _direction(_stream(options, "drift"))
    # The cell image is that of an untilted lattice: foreshortening belongs to the map from slab to image.
    image = _recorded(cell, view, axes, options, artefacts, drift)
    if artefacts["quantise"]:
        image = quantised(image, artefacts["quantise"])

    apparent = view.drifted(drift, options.shape[0] * options.pixel_size[0])
    stated = 1 + artefacts["calibration"]
    truth = Truth(structure, apparent.matrix * stated, apparent.origin * stated, options)
    pixel_size = (options.pixel_size[0] * stated, options.pixel_size[1] * stated)
    image = image.astype(np.float32)
    micrograph = Micrograph(
        image=image,
        pixel_size=pixel_size,
        pixel_size_source="file",
        modality=options.optics.modality,
        dose=options.dose,
        beam_energy=options.optics.beam_energy,
        convergence_angle=options.optics.convergence_angle,
        sha256=hashlib.sha256(image.tobytes()).hexdigest(),
        source=f"simulated {structure.composition.reduced_formula}",
        metadata=_instrument(options),
    )
    return Simulation(micrograph, truth)


def simulate_to_file(
    structure_path: str | Path, options: SimulationOptions, out: str | Path, cache: str | Path | None = None
) -> tuple[Path, Path]:
    """Image a structure file: a calibrated TIFF, and beside it the truth as JSON and as CIF.

    Parameters
    ----------
    structure_path
        A monolayer in any format of ``structures.load_structure``.
    options
        See ``simulate``.
    out
        IMAGE.tif; IMAGE.truth.json and IMAGE.truth.cif are named after it. Its folder is made when missing.
    cache
        See ``simulate``.

    Returns
    -------
    tuple
        Paths of the image and of the truth (JSON). The image is written last, so whoever waits for it finds all.

    Raises
    ------
    SimulationError
        As ``load_structure`` and ``simulate`` do, or when a file cannot be written.
    """
    out = Path(out)
    if out.suffix.lower() not in TIFF_SUFFIXES:
        raise SimulationError(f"{out}: images are written as TIFF; give a name that ends in .tif")
    structure = load_structure(structure_path)
    simulation = simulate(structure, options, cache)
    micrograph = simulation.micrograph
    image: np.ndarray = micrograph.image
    bits = options.artefacts.get("quantise", 0)
    if bits:
        image = image.astype(np.uint8 if bits <= 8 else np.uint16)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SimulationError(f"cannot make the folder {out.parent}: {error.strerror or error}") from error
    content = {"schema": 1, "image": out.name, "structure": str(structure_path), **simulation.truth.to_json()}
    truth = write_text(out.with_suffix(".truth.json"), json.dumps(content, indent=1) + "\n")
    write_text(out.with_suffix(".truth.cif"), str(CifWriter(structure, significant_figures=10)))
    assert micrograph.pixel_size is not None
    write_tiff(out, image, micrograph.pixel_size, _instrument(options))
    return out, truth


def _instrument(options: SimulationOptions) -> dict[str, Any]:
    """Compile what a microscope would note about an image; nothing of the truth."""
    optics = options.optics
    return {
        "software": "AutoMat, abTEM multislice",
        "modality": str(optics.modality),
        "dose": options.dose,
        "beam_energy": optics.beam_energy,
        "convergence_angle": optics.convergence_angle,
    }


def _check(options: SimulationOptions) -> None:
    """Look at all options but the artefacts."""
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


_STREAMS = ("origin", "drift", "jitter", "background", "noise")


def _stream(options: SimulationOptions, use: str) -> np.random.Generator:
    """Independent random numbers for one use."""
    return np.random.default_rng([options.seed, _STREAMS.index(use)])


def _direction(rng: np.random.Generator) -> np.ndarray:
    """Draw a unit vector."""
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


def _origin(options: SimulationOptions, matrix: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Where the slab's origin appears: as asked, or anywhere within one cell."""
    if options.origin is not None:
        return np.asarray(options.origin, dtype=float)
    return np.asarray(_stream(options, "origin").uniform(size=2) @ cell @ matrix.T)


def _quadrant_angle(options: SimulationOptions, turn: np.ndarray) -> float:
    """Degrees from the slab's x axis to a quadrant's centre."""
    if options.detector_rotation is None:
        return 0.0
    x, y = turn.T @ orthogonal_part(options.detector_rotation, mirror=False)[:, 0]
    return float(np.rad2deg(np.arctan2(y, x)))


def _flipped(structure: Structure) -> Structure:
    """Reverse the slab along the beam; the other half of turning it over is the mirror of the image."""
    frac = structure.frac_coords.copy()
    frac[:, 2] = 1 - frac[:, 2]
    return Structure(structure.lattice, structure.species, frac)


def _recorded(
    cell: CellImage,
    view: View,
    axes: np.ndarray,
    options: SimulationOptions,
    artefacts: Mapping[str, float],
    drift: np.ndarray,
) -> np.ndarray:
    """Scan, count and combine; the columns of ``axes`` are the directions of the first two quadrants in the image."""
    jitter = artefacts["line_jitter"]
    points = probe_positions(options.shape, options.pixel_size, drift, jitter, _stream(options, "jitter"))
    dirt, strength = np.zeros((len(cell.fractions), 1, 1)), artefacts["background"]
    if strength:
        size = (options.shape, options.pixel_size)
        dirt = contamination(cell, strength, axes, *size, _stream(options, "background"))
    dirt = np.broadcast_to(dirt, (len(dirt), *options.shape))
    rng = _stream(options, "noise")
    area = options.pixel_size[0] * options.pixel_size[1]
    signal = np.empty((2 if cell.segmented else 1, *options.shape))
    for start in range(0, options.shape[0], _ROWS):
        rows = slice(start, start + _ROWS)
        fractions = cell.sample(view.to_slab(points[rows])) + dirt[:, rows]
        if options.dose is not None:
            fractions = poisson_counts(fractions, options.dose, area, rng) / (options.dose * area)
        signal[:, rows] = phase_gradient(fractions, cell.optics) if cell.segmented else fractions
    if not cell.segmented:
        return np.asarray(signal[0])
    gradient = np.einsum("ij,jhw->ihw", axes, signal)
    image, _ = integrate_dpc(gradient[1], gradient[0], options.pixel_size)
    # Integration takes the mean gradient for descan and removes it. There is none here: the mean belongs to the cells
    # that the edges cut, and without it the image would be tilted.
    nominal = raster(options.shape, options.pixel_size)
    return np.asarray(image + (nominal - nominal.mean(axis=(0, 1))) @ gradient.mean(axis=(1, 2)))
