"""From a structure to a micrograph as a microscope would record it, with the truth beside it.

Order of events, as in the instrument: the probe visits its positions (scan distortion, drift, jitter), every detector
segment counts electrons there (multislice signal, contamination, shot noise), and only then are the counts combined:
for iDPC and phase images into the gradient of the phase, which is integrated over the field of view. Noise therefore
has the spectrum of a real image: white for one annular detector, growing as 1/q² in power for iDPC.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core.structure import Structure
from pymatgen.io.cif import CifWriter

from microscopy.artefacts import quantised, strengths, tilted
from microscopy.defects import Defect, draw_defects, place_defects
from microscopy.errors import SimulationError
from microscopy.micrograph import Micrograph
from microscopy.multislice import cached_cell_images, cell_images
from microscopy.recording import recorded, stream
from microscopy.scan import View, orthogonal_part
from microscopy.simulation_records import Simulation, SimulationOptions, Truth, check
from microscopy.slab import plane_cell
from microscopy.structures import load_structure
from microscopy.writers import TIFF_SUFFIXES, write_text, write_tiff


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
    check(options)
    artefacts = strengths(options.artefacts)
    specimen, foreshortening = tilted(structure, artefacts["tilt"])
    if options.mirror:
        specimen = flipped(specimen)
    turn = orthogonal_part(options.rotation, options.mirror)
    optics = replace(
        options.optics,
        defocus=options.optics.defocus + artefacts["defocus"],
        source_size=float(np.hypot(options.optics.source_size, artefacts["source_size"])),
        astigmatism=artefacts["astigmatism"] or options.optics.astigmatism,
        astigmatism_angle=_astigmatism_angle(options, artefacts["astigmatism"], turn),
    )
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
    drift = artefacts["drift"] * _direction(stream(options, "drift"))
    # The cell image is that of an untilted lattice: foreshortening belongs to the map from slab to image.
    field = (options.shape[1] * options.pixel_size[1], options.shape[0] * options.pixel_size[0])
    drawn = draw_defects(specimen, view, field, artefacts, stream(options, "defects"))
    placed = place_defects(drawn, specimen, optics, quadrants, options.thermal_sigma, cache)
    image = recorded(cell, view, axes, options, artefacts, drift, placed)
    if artefacts["quantise"]:
        image = quantised(image, artefacts["quantise"])

    apparent = view.drifted(drift, options.shape[0] * options.pixel_size[0])
    stated = 1 + artefacts["calibration"]
    truth = Truth(structure, apparent.matrix * stated, apparent.origin * stated, options)
    truth = replace(truth, defects=tuple(_as_seen(each, truth) for each in drawn))
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


def _direction(rng: np.random.Generator) -> np.ndarray:
    """Draw a unit vector."""
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


def _astigmatism_angle(options: SimulationOptions, strength: float, turn: np.ndarray) -> float:
    """Degrees in the slab's frame: a direction drawn in the image's frame when astigmatism is an artefact."""
    if not strength:
        return options.optics.astigmatism_angle
    x, y = turn.T @ _direction(stream(options, "astigmatism"))
    return float(np.rad2deg(np.arctan2(y, x)))


def _as_seen(defect: Defect, truth: Truth) -> Defect:
    """The defect with its place in the image."""
    frac = truth.structure.frac_coords[defect.site, :2] + defect.cell
    x, y = frac @ truth.cell + truth.origin
    return replace(defect, position=(float(x), float(y)))


def _origin(options: SimulationOptions, matrix: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Where the slab's origin appears: as asked, or anywhere within one cell."""
    if options.origin is not None:
        return np.asarray(options.origin, dtype=float)
    return np.asarray(stream(options, "origin").uniform(size=2) @ cell @ matrix.T)


def _quadrant_angle(options: SimulationOptions, turn: np.ndarray) -> float:
    """Degrees from the slab's x axis to a quadrant's centre."""
    if options.detector_rotation is None:
        return 0.0
    x, y = turn.T @ orthogonal_part(options.detector_rotation, mirror=False)[:, 0]
    return float(np.rad2deg(np.arctan2(y, x)))


def flipped(structure: Structure) -> Structure:
    """Reverse the slab along the beam; the other half of turning it over is the mirror of the image."""
    frac = structure.frac_coords.copy()
    frac[:, 2] = 1 - frac[:, 2]
    return Structure(structure.lattice, structure.species, frac)
