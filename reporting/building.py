"""From the records of a run to its `reporting.result.Result`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import zip_longest

from microscopy.errors import AutoMatError
from microscopy.micrograph import Micrograph
from models.records import Denoised, Relaxation
from planning.records import Decision, Found, Status, Verdict
from reconstruction.records import Candidate, Candidates, ImageLattice, PointDefects, Reconstruction
from reporting.result import (
    RELAXED_CIF,
    STRUCTURE_CIF,
    AlternativeResult,
    AttemptResult,
    CalibrationResult,
    CandidateResult,
    CheckResult,
    DefectsResult,
    DenoisingResult,
    EnergyResult,
    ErrorResult,
    FoundResult,
    ImageResult,
    LatticeResult,
    PointDefectResult,
    Result,
    StructureResult,
    alternative_cif,
)

CALIBRATION_TOLERANCE = 0.02
"""Scale or shear beyond which a reader is warned: template lattice constants are trusted to about 2 %."""


def build_result(
    micrograph: Micrograph,
    verdict: Verdict,
    *,
    denoised: Denoised | None = None,
    candidates: Candidates | None = None,
    reconstruction: Reconstruction | None = None,
    alternatives: Sequence[Candidate] = (),
    relaxation: Relaxation | None = None,
    decisions: Sequence[Decision] = (),
    found: Sequence[Found | None] = (),
    timings: Mapping[str, float] | None = None,
    versions: Mapping[str, str] | None = None,
    warnings: Sequence[str] = (),
) -> Result:
    """Assemble the result of a run that reached a verdict.

    Parameters
    ----------
    micrograph, verdict
        The input and its judgement.
    denoised, candidates, reconstruction, relaxation
        What each stage returned; None where the run did not get so far or a stage was switched off.
    alternatives
        The other explanations worth writing, best first; the n-th is expected in ``alternatives/n.cif``.
    decisions, found
        Steps of the planner in order, and what each of them was about.
    timings
        Seconds per stage.
    versions
        Version per package.
    warnings
        Sentences beyond those the records carry.
    """
    lattice_warnings = candidates.lattice.warnings if candidates and candidates.lattice else ()
    found_warnings = reconstruction.warnings if reconstruction else ()
    fallback = (relaxation.note,) if relaxation and relaxation.note else ()
    return Result(
        status=verdict.status,
        confidence=verdict.confidence,
        reason=verdict.reason,
        image=_image(micrograph),
        structure=_structure(reconstruction) if reconstruction else None,
        alternatives=tuple(
            AlternativeResult(
                formula=_formula(each),
                confidence=each.probability,
                cif=alternative_cif(number),
                origin=each.origin,
                template=each.template or None,
            )
            for number, each in enumerate(alternatives, start=1)
        ),
        energy=_energy(relaxation) if relaxation else None,
        checks=tuple(
            CheckResult(name=c.name, value=c.value, limit=c.limit, passed=c.passed, meaning=c.meaning)
            for c in verdict.checks
        ),
        calibration=_calibration(micrograph, reconstruction),
        attempts=_attempts(decisions, found),
        error=None,
        timings_s=dict(timings or {}),
        versions=dict(versions or {}),
        warnings=tuple(dict.fromkeys((*lattice_warnings, *found_warnings, *fallback, *warnings))),
        denoising=_denoising(denoised) if denoised else None,
        lattice=_lattice(candidates.lattice) if candidates and candidates.lattice else None,
        candidates=tuple(_candidate(each) for each in candidates.items) if candidates else (),
        searched=candidates.searched if candidates else 0,
        margin=candidates.margin if candidates else None,
        defects=_defects(reconstruction.defects) if reconstruction and reconstruction.defects else None,
    )


def failed_result(
    path: str,
    sha256: str | None,
    error: BaseException,
    *,
    decisions: Sequence[Decision] = (),
    timings: Mapping[str, float] | None = None,
    versions: Mapping[str, str] | None = None,
) -> Result:
    """Give the result of an input whose processing raised ``error``."""
    stage = error.stage if isinstance(error, AutoMatError) else AutoMatError.stage
    message = " ".join(str(error).split()) or type(error).__name__
    return Result(
        status=Status.FAILED,
        confidence=0.0,
        reason=message,
        image=ImageResult(path=path, sha256=sha256, shape=None, pixel_size=None, modality=None),
        structure=None,
        alternatives=(),
        energy=None,
        checks=(),
        calibration=CalibrationResult(scale=None, shear=None, warning=None),
        attempts=_attempts(decisions),
        error=ErrorResult(stage=stage, type=type(error).__name__, message=message),
        timings_s=dict(timings or {}),
        versions=dict(versions or {}),
    )


def _attempts(decisions: Sequence[Decision], found: Sequence[Found | None] = ()) -> tuple[AttemptResult, ...]:
    return tuple(
        AttemptResult(
            branch=decision.branch,
            reason=decision.reason,
            chosen_by=decision.chosen_by,
            found=FoundResult(**asdict(about)) if about else None,
        )
        for decision, about in zip_longest(decisions, found)
    )


def _formula(candidate: Candidate) -> str:
    return str(candidate.structure.composition.reduced_formula)


def _image(micrograph: Micrograph) -> ImageResult:
    height, width = micrograph.image.shape
    return ImageResult(
        path=micrograph.source,
        sha256=micrograph.sha256,
        shape=(height, width),
        pixel_size=micrograph.pixel_size,
        modality=micrograph.modality.value,
        pixel_size_source=micrograph.pixel_size_source,
        dose=micrograph.dose,
        beam_energy=micrograph.beam_energy,
        convergence_angle=micrograph.convergence_angle,
        elements=micrograph.elements,
        formula=micrograph.formula,
        notices=micrograph.notices,
    )


def _structure(found: Reconstruction) -> StructureResult:
    a_error, b_error, gamma_error = found.lattice_errors
    return StructureResult(
        cif=STRUCTURE_CIF,
        formula=found.structure.composition.reduced_formula,
        natoms=len(found.structure),
        a=found.a,
        b=found.b,
        gamma=found.gamma,
        layer_group=found.layer_group,
        origin=found.candidate.origin,
        template=found.candidate.template or None,
        layer_group_symbol=found.layer_group_symbol,
        symmetry_tolerance=found.symmetry_tolerance,
        symmetry_plateau=found.symmetry_plateau,
        a_error=a_error,
        b_error=b_error,
        gamma_error=gamma_error,
        position_error=float(found.position_errors.max()) if found.position_errors.size else None,
        z_source=found.z_source,
        elements_alike={each.symbol: each.alike for each in found.elements},
    )


def _defects(examined: PointDefects) -> DefectsResult:
    return DefectsResult(
        sites=examined.sites,
        detectable=dict(examined.detectable),
        found=tuple(
            PointDefectResult(
                kind=each.kind,
                element=each.element,
                replaced_by=each.replaced_by,
                x=each.position[0],
                y=each.position[1],
                cell=each.cell,
                site=each.site,
                strength=each.strength,
                probability=each.probability,
            )
            for each in examined.found
        ),
        note=examined.note,
    )


def _energy(relaxation: Relaxation) -> EnergyResult:
    return EnergyResult(
        potential=relaxation.potential,
        checkpoint=relaxation.checkpoint,
        energy_per_atom=relaxation.energy_per_atom,
        formation_energy_per_atom=relaxation.formation_energy_per_atom,
        converged=relaxation.converged,
        steps=relaxation.steps,
        relaxed_cif=RELAXED_CIF,
        scale=relaxation.scale,
        max_force=relaxation.max_force,
        initial_energy_per_atom=relaxation.initial_energy_per_atom,
        max_displacement=float(relaxation.displacements.max()) if relaxation.displacements.size else None,
        starts=relaxation.starts,
        chosen=relaxation.chosen if relaxation.starts > 1 else "",
        note=relaxation.note,
    )


def _calibration(micrograph: Micrograph, found: Reconstruction | None) -> CalibrationResult:
    sentences = []
    if micrograph.pixel_size_source == "estimate":
        sentences.append("The pixel size is an estimate from the best template, not a measurement.")
    if found is None:
        return CalibrationResult(scale=None, shear=None, warning=" ".join(sentences) or None)
    if abs(found.scale - 1.0) > CALIBRATION_TOLERANCE:
        size = f"{100 * abs(found.scale - 1.0):.1f} % {'larger' if found.scale > 1.0 else 'smaller'}"
        sentences.append(f"Lengths in the image are {size} than in the template; check the pixel size.")
    if abs(found.shear) > CALIBRATION_TOLERANCE:
        sentences.append(f"The image is sheared by {100 * abs(found.shear):.1f} %; scan distortion or drift is likely.")
    if sentences and found.candidate.scan_distorted:
        sentences.append("The structure has the cell of the crystal, with that taken out.")
    return CalibrationResult(scale=found.scale, shear=found.shear, warning=" ".join(sentences) or None)


def _denoising(denoised: Denoised) -> DenoisingResult:
    return DenoisingResult(
        weights=dict(denoised.weights),
        noise=denoised.noise,
        digest=denoised.digest,
        level=denoised.level,
        pattern=denoised.pattern or None,
        note=denoised.note or None,
    )


def _lattice(lattice: ImageLattice) -> LatticeResult:
    (ax, ay), (bx, by) = lattice.vectors.tolist()
    return LatticeResult(
        vectors=((ax, ay), (bx, by)),
        significance=lattice.significance,
        reflections=lattice.reflections,
    )


def _candidate(candidate: Candidate) -> CandidateResult:
    return CandidateResult(
        template=candidate.template or None,
        source=candidate.source,
        formula=_formula(candidate),
        origin=candidate.origin,
        probability=candidate.probability,
        score=candidate.score,
        correlation=candidate.correlation,
        strain=candidate.strain,
        log_likelihood=candidate.log_likelihood,
        log_prior=candidate.log_prior,
    )
