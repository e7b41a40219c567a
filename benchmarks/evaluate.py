"""One case from the structure to the record of every answer: simulate, run the pipeline, score, say why."""

from __future__ import annotations

import math
import tempfile
import time
import warnings
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core.structure import Structure
from pymatgen.io.cif import CifWriter

from benchmarks.attribution import Cause, attribute
from benchmarks.cases import GEOMETRY, Case, Question, orientation
from benchmarks.cramer_rao import position_bound
from benchmarks.libraries import alike
from benchmarks.materials import Material, tier
from benchmarks.measuring import threads
from benchmarks.metrics import rmsd_projected, score
from benchmarks.pipeline import Answer, answer, prepared, write_image
from benchmarks.stem2crystal.metrics import RANKED, score_sample
from benchmarks.stem2crystal.noise import render
from library.store import Library, open_libraries
from microscopy.errors import ReconstructionError
from microscopy.micrograph import Micrograph
from microscopy.multislice import cached_cell_images
from microscopy.optics import Optics
from microscopy.simulation import SimulationOptions, flipped, simulate
from models.formation import relax
from models.potentials import load_potential
from models.records import Relaxation
from reconstruction.cif import releasable, structure_cif
from reconstruction.reconstruct import reconstruct


@dataclass(frozen=True)
class Bench:
    """What all cases of a run share: folders only, so that it travels to any worker.

    Attributes
    ----------
    cells
        Multislice images.
    libraries
        Folders of the library of the source; empty for the embedded one.
    displaced
        Folder of the library of displaced materials; None when no case asks for it.
    potential
        Name or path; None for the product's default.
    """

    cells: Path
    libraries: tuple[Path, ...]
    displaced: Path | None = None
    potential: str | None = None

    def folders(self, case: Case) -> tuple[Path, ...]:
        """Library folders of a case."""
        if not case.displacement:
            return self.libraries
        assert self.displaced is not None
        return (self.displaced,)


@dataclass(frozen=True, eq=False)
class Picture:
    """The image of a case; ``cell``: rows a, b of the truth as they appear, Å; ``matrix``: from slab to image."""

    micrograph: Micrograph
    cell: np.ndarray
    matrix: np.ndarray


def picture(case: Case, material: Material, cells: Path) -> Picture:
    """Simulate the image of a case; the same case gives the same image."""
    if case.noise:
        micrograph, matrix = render(material.structure, case.noise, case.view_seed)
        return Picture(micrograph, _plane(material.structure) @ matrix.T, matrix)
    simulation = simulate(material.structure, options(case), cells)
    return Picture(simulation.micrograph, simulation.truth.cell, simulation.truth.matrix)


def options(case: Case) -> SimulationOptions:
    """How a case is imaged."""
    rotation, mirror = orientation(case)
    return SimulationOptions(
        shape=case.shape,
        pixel_size=(case.pixel_size, case.pixel_size),
        dose=case.dose,
        rotation=rotation,
        mirror=mirror,
        seed=case.view_seed,
        artefacts=case.artefacts,
    )


def evaluate(case: Case, material: Material, bench: Bench) -> dict[str, Any]:
    """Measure one case.

    Returns
    -------
    dict
        JSON-compatible. Whatever goes wrong with an answer is in it, and counts; an image that cannot be made is
        in it as ``error``.
    """
    record = empty_record(case, material)
    try:
        with threads(case.threads):
            started = time.perf_counter()
            seen = picture(case, material, bench.cells)
            record["simulate_s"] = time.perf_counter() - started
            library = _library(bench.folders(case))
            same = alike(material.structure, library)
            for question in case.questions:
                record["answers"].append(_ask(case, question, material, seen, bench, library, same))
    except Exception as error:  # a benchmark counts every failure, whatever it is
        record["error"] = f"{type(error).__name__}: {error}"
    return record


def empty_record(case: Case, material: Material) -> dict[str, Any]:
    """What is known of a case before it is measured; without answers."""
    return {
        "key": case.key,
        "case": case.to_json(),
        "formula": material.formula,
        "natoms": len(material.structure),
        "tier": tier(material, case.dose),
        "answers": [],
    }


def _ask(
    case: Case,
    question: Question,
    material: Material,
    seen: Picture,
    bench: Bench,
    library: Library,
    same: set[str],
) -> dict[str, Any]:
    found: dict[str, Any] = {"regime": question.regime, "variant": question.variant.name}
    try:
        with tempfile.TemporaryDirectory(prefix="automat-bench-") as folder:
            image = Path(folder) / "image.tif"
            measured = prepared(seen.micrograph, question.variant)
            write_image(measured, case.artefacts.get("quantise", 0), image)
            said = answer(image, question, material, bench.folders(case), library, same, bench.potential)
            if said.reconstruction and not releasable(said.reconstruction.symmetrised):
                said = replace(said, reconstruction=None)  # as the product does
        found |= _judged(case, said, material, seen, bench)
        if case.export:
            ranked = _ranked(said, measured)
            sample = score_sample(parsed(truth_cif(material.structure)), [parsed(text) for text in ranked])
            found |= {"ranked": ranked, "stem2crystal": asdict(sample)}
    except Exception as error:
        found |= {"error": f"{type(error).__name__}: {error}", "cause": Cause.FAILURE, "status": "failed"}
    return found


def _judged(case: Case, said: Answer, material: Material, seen: Picture, bench: Bench) -> dict[str, Any]:
    truth = material.structure
    calibrated = not GEOMETRY & case.artefacts.keys()
    prediction = said.reconstruction.symmetrised if said.reconstruction else None
    verdict = score(prediction, truth, calibrated=calibrated) if prediction else None
    hit = 1 if verdict and verdict.success else _first_hit(said, truth, calibrated)
    found: dict[str, Any] = {
        "status": str(said.verdict.status),
        "confidence": said.verdict.confidence,
        "score": asdict(verdict) if verdict else None,
        "hit": hit,
        "cause": attribute(said, verdict, truth, seen.cell, hit, calibrated),
        "checks": {each.name: each.value for each in said.verdict.checks},
        "failed_checks": list(said.verdict.failed),
        "branches": [str(decision.branch) for decision in said.decisions],
        "seconds": said.seconds,
        "peak_mib": said.peak_mib,
    }
    if said.reconstruction is not None and prediction is not None:
        candidate = said.reconstruction.candidate
        stretch = float(np.sqrt(abs(np.linalg.det(seen.matrix))))
        found |= {
            "formula": prediction.composition.reduced_formula,
            "template": candidate.template,
            "origin": candidate.origin,
            "scale": said.reconstruction.scale,
            "true_scale": stretch,
            "shear": said.reconstruction.shear,
            "true_shear": _shear(seen.matrix),
            "cif": structure_cif(prediction),
        }
    if verdict and verdict.success and case.dose is not None and not case.artefacts:
        # The bound is of positions of which nothing else is known: symmetry, once imposed, is other knowledge.
        found |= {"bound_rmsd": _bound(case, truth, bench.cells), "measured_rmsd": _measured_rmsd(said, truth)}
    if said.relaxation is not None:
        found["energy"] = _energy(said.relaxation)
    return found


def truth_cif(structure: Structure) -> str:
    """The truth as a CIF file, all sites written."""
    return str(CifWriter(structure, significant_figures=10))


def parsed(text: str) -> Structure:
    """What another program reads from a CIF file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of coordinates rounded to thirds, which is what they are
        return Structure.from_str(text, fmt="cif")


def floor(material: Material, potential: str | None = None) -> dict[str, Any]:
    """The energy of the truth itself with the same potential: no reconstruction can be expected to do better."""
    try:
        found = _energy(relax(material.structure, load_potential(potential)))
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    return {"material": material.id, "formula": material.formula, "dft": material.formation_energy, **found}


def _energy(relaxation: Relaxation) -> dict[str, Any]:
    return {
        "potential": relaxation.potential,
        "checkpoint": relaxation.checkpoint,
        "formation": relaxation.formation_energy_per_atom,
        "energy": relaxation.energy_per_atom,
        "converged": relaxation.converged,
        "steps": relaxation.steps,
    }


def _first_hit(said: Answer, truth: Structure, calibrated: bool) -> int | None:
    """Rank of the first candidate, unrefined, that is the truth; the answer itself is rank 1."""
    chosen = said.reconstruction.candidate.template if said.reconstruction else None
    others = [each for each in said.candidates.items if each.template != chosen]
    for rank, candidate in enumerate(others, 2):
        if score(candidate.structure, truth, calibrated=calibrated).success:
            return rank
    return None


def _ranked(said: Answer, micrograph: Micrograph) -> list[str]:
    """CIF files of the answer and of the other candidates, refined against the image, best first.

    A candidate that cannot be released (sites on top of one another) is passed over.
    """
    if said.reconstruction is None:
        return []
    found = [structure_cif(said.reconstruction.symmetrised)]
    chosen = said.reconstruction.candidate.template
    for rank, candidate in enumerate(said.candidates.items):
        if candidate.template != chosen and len(found) < RANKED:
            with suppress(ReconstructionError):
                found.append(structure_cif(reconstruct(micrograph, said.candidates, rank).symmetrised))
    return found


def _bound(case: Case, truth: Structure, cells: Path) -> float | None:
    """Smallest RMSD in Å that the image allows, see ``benchmarks.cramer_rao``."""
    assert case.dose is not None
    _, mirrored = orientation(case)
    seen = flipped(truth) if mirrored else truth  # whose cell image is there already
    area = case.shape[0] * case.shape[1] * case.pixel_size**2
    value = position_bound(cached_cell_images(seen, Optics(), cells), seen, case.dose, area).rmsd
    return value if math.isfinite(value) else None


def _measured_rmsd(said: Answer, truth: Structure) -> float | None:
    """RMSD in Å of the positions as measured, before any symmetry."""
    assert said.reconstruction is not None
    return rmsd_projected(said.reconstruction.structure, truth)


def _shear(matrix: np.ndarray) -> float:
    """Relative difference of the principal stretches of a map."""
    singular = np.linalg.svd(matrix, compute_uv=False)
    return float(singular[0] / singular[1] - 1)


def _plane(structure: Structure) -> np.ndarray:
    return np.asarray(structure.lattice.matrix[:2, :2])


@lru_cache(maxsize=2)
def _library(folders: tuple[Path, ...]) -> Library:
    return open_libraries(list(folders) or None)
