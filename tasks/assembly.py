"""From the records of a run to the contents of its folder."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymatgen.core import Composition

from microscopy.errors import AutoMatError
from microscopy.micrograph import Micrograph
from models.records import Denoised, Relaxation
from planning.records import Decision, Found, Status, Verdict
from reconstruction.records import Candidate, Candidates, Reconstruction
from reporting.result import ErrorResult, Result
from tasks.caching import DISTRIBUTION

ALTERNATIVES = 5
"""Other explanations written at most: a person looks at a handful."""

MIN_PROBABILITY = 1e-3
"""Posterior below which an alternative is not worth a file."""

VERSIONED = (DISTRIBUTION, "numpy", "scipy", "torch", "pymatgen", "spglib", "ase", "sevenn", "mattersim", "prefect")
"""Packages whose version can change a result."""


@dataclass(frozen=True)
class RunFiles:
    """Contents of a run folder, as `reporting.files.write_run_folder` takes them, and the thumbnail (PNG)."""

    result: Mapping[str, Any]
    structure_cif: str | None = None
    relaxed_cif: str | None = None
    path_xyz: str | None = None
    alternative_cifs: tuple[str, ...] = ()
    overlay: bytes | None = None
    report: str | None = None
    thumbnail: bytes | None = None

    def write(self, out: Path, path: Path) -> tuple[Result, Path]:
        """Write the folder of the input at ``path`` below ``out``.

        Raises
        ------
        ReportError
            If the disk refuses.
        """
        from reporting.files import write_run_folder

        result = Result.from_dict(self.result)
        result = result.model_copy(update={"image": result.image.model_copy(update={"path": str(path)})})
        folder = write_run_folder(
            out,
            result,
            structure_cif=self.structure_cif,
            relaxed_cif=self.relaxed_cif,
            path_xyz=self.path_xyz,
            alternative_cifs=self.alternative_cifs,
            overlay=self.overlay,
            report=self.report,
        )
        return result, folder


def assemble(
    *,
    micrograph: Micrograph,
    denoised: Denoised,
    candidates: Candidates,
    reconstruction: Reconstruction | None,
    relaxation: Relaxation | None,
    verdict: Verdict,
    decisions: Sequence[Decision],
    found: Sequence[Found | None],
    notes: Sequence[str],
    timings: Mapping[str, float],
) -> RunFiles:
    """Render a run that reached a verdict; ``found``: what each decision was about; ``notes`` join its warnings."""
    from models.relaxation.path import to_extxyz
    from reconstruction.cif import checked_cif, releasable, structure_cif
    from reporting.building import build_result
    from reporting.overlay import Registration, overlay_png
    from reporting.report import render_report
    from reporting.thumbnail import thumbnail

    if reconstruction and not releasable(reconstruction.symmetrised):
        formula = reconstruction.symmetrised.composition.reduced_formula
        notes = (*notes, f"The best attempt, {formula}, has atoms on top of one another: it is not written.")
        reconstruction = relaxation = None
    others = alternatives(candidates, reconstruction) if reconstruction else ()
    result = build_result(
        micrograph,
        verdict,
        denoised=denoised,
        candidates=candidates,
        reconstruction=reconstruction,
        alternatives=others,
        relaxation=relaxation,
        decisions=decisions,
        found=found,
        timings=timings,
        versions=versions(),
        warnings=(*(contradictions(micrograph, reconstruction) if reconstruction else ()), *notes),
    )
    overlay = None
    if reconstruction and micrograph.pixel_size is not None:
        overlay = overlay_png(
            micrograph.image,
            micrograph.pixel_size,
            Registration(reconstruction.structure, reconstruction.candidate.cell, reconstruction.candidate.shift),
            close_view=denoised.image,
            estimated=micrograph.pixel_size_source == "estimate",
            defects=reconstruction.defects.found if reconstruction.defects else (),
        )
    return RunFiles(
        result=result.to_dict(),
        structure_cif=_released(reconstruction),
        relaxed_cif=structure_cif(relaxation.structure) if relaxation else None,
        path_xyz=to_extxyz(relaxation.path) if relaxation and relaxation.path else None,
        alternative_cifs=tuple(checked_cif(each.structure) for each in others),
        overlay=overlay,
        report=render_report(
            result,
            micrograph=micrograph,
            denoised=denoised,
            reconstruction=reconstruction,
            alternatives=others,
            relaxation=relaxation,
            overlay=overlay,
        ),
        thumbnail=thumbnail(micrograph.image),
    )


def assemble_failure(
    path: Path,
    sha256: str,
    error: Exception,
    stage: str,
    micrograph: Micrograph | None,
    decisions: Sequence[Decision],
    timings: Mapping[str, float],
) -> RunFiles:
    """Render a run that failed in ``stage``."""
    from reporting.building import build_result
    from reporting.report import render_report
    from reporting.thumbnail import thumbnail

    result = failure(path, sha256, error, stage, decisions, timings)
    if micrograph:
        image = build_result(micrograph, Verdict((), 0.0, Status.FAILED, result.reason)).image
        result = result.model_copy(update={"image": image})
    return RunFiles(
        result=result.to_dict(),
        report=render_report(result, micrograph=micrograph),
        thumbnail=thumbnail(micrograph.image) if micrograph else None,
    )


def failure(
    path: Path,
    sha256: str | None,
    error: Exception,
    stage: str,
    decisions: Sequence[Decision] = (),
    timings: Mapping[str, float] | None = None,
) -> Result:
    """Give the result of a failed run; an error that is not the project's own is blamed on the stage it came from."""
    from reporting.building import failed_result

    result = failed_result(str(path), sha256, error, decisions=decisions, timings=timings, versions=versions())
    if isinstance(error, AutoMatError):
        return result
    message = f"unexpected {type(error).__name__}: {result.reason}"
    blamed = ErrorResult(stage=stage, type=type(error).__name__, message=message)
    return result.model_copy(update={"error": blamed, "reason": message})


def alternatives(candidates: Candidates, chosen: Reconstruction) -> tuple[Candidate, ...]:
    """Other hypotheses worth showing, best first: never one with atoms on top of one another."""
    from reconstruction.cif import releasable
    from reconstruction.hypotheses import same_hypothesis

    likely = [each for each in candidates.items if each.probability >= MIN_PROBABILITY]
    others = [each for each in likely if not same_hypothesis(each, chosen.candidate)]
    return tuple([each for each in others if releasable(each.structure)][:ALTERNATIVES])


def contradictions(micrograph: Micrograph, found: Reconstruction) -> tuple[str, ...]:
    """Sentences about what was found against what the user knows."""
    symbols = {site.specie.symbol for site in found.structure}
    if micrograph.elements and symbols != set(micrograph.elements):
        return (f"The structure has other elements than the {', '.join(micrograph.elements)} that were given.",)
    formula = str(found.structure.composition.reduced_formula)
    if micrograph.formula and Composition(micrograph.formula).reduced_formula != formula:
        return (f"The structure is not the {micrograph.formula} that was given.",)
    return ()


def _released(found: Reconstruction | None) -> str | None:
    from reconstruction.cif import structure_cif

    return structure_cif(found.symmetrised, tolerance=found.symmetry_tolerance) if found else None


def versions() -> dict[str, str]:
    """Versions of the packages that can change a result."""
    found = {}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
