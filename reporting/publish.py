"""From the records of a run to its folder: overlay, report and files in one call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from microscopy.micrograph import Micrograph
from models.records import Denoised, Relaxation
from reconstruction.records import Candidate, Reconstruction
from reporting.files import write_run_folder
from reporting.overlay import Registration, overlay_png
from reporting.report import render_report
from reporting.result import Result


def publish(
    out: Path,
    result: Result,
    *,
    micrograph: Micrograph | None = None,
    denoised: Denoised | None = None,
    reconstruction: Reconstruction | None = None,
    alternatives: Sequence[Candidate] = (),
    relaxation: Relaxation | None = None,
    structure_cif: str | None = None,
    relaxed_cif: str | None = None,
    alternative_cifs: Sequence[str] = (),
) -> Path:
    """Draw, describe and write one run.

    Parameters
    ----------
    out
        Parent of the run folder.
    result
        From :func:`reporting.result.build_result` or :func:`reporting.result.failed_result`.
    micrograph, denoised, reconstruction, alternatives, relaxation
        The records the result was built from.
    structure_cif, relaxed_cif, alternative_cifs
        CIF texts of the structures that the result names, alternatives in its order.

    Returns
    -------
    Path
        The run folder, complete.

    Raises
    ------
    ReportError
        If anything cannot be written; nothing is left behind then.
    """
    overlay = None
    if micrograph and reconstruction and micrograph.pixel_size:
        candidate = reconstruction.candidate
        overlay = overlay_png(
            micrograph.image,
            micrograph.pixel_size,
            Registration(reconstruction.structure, candidate.cell, candidate.shift),
            close_view=denoised.image if denoised else None,
            estimated=micrograph.pixel_size_source == "estimate",
        )
    report = render_report(
        result,
        micrograph=micrograph,
        denoised=denoised,
        reconstruction=reconstruction,
        alternatives=alternatives,
        relaxation=relaxation,
        overlay=overlay,
    )
    return write_run_folder(
        out,
        result,
        structure_cif=structure_cif,
        relaxed_cif=relaxed_cif,
        alternative_cifs=alternative_cifs,
        overlay=overlay,
        report=report,
    )
