"""``result.json``, schema 1: what other programs rely on.

The fields documented in the reference are always present and keep their meaning; others may be added.
Lengths in Å, angles in degrees, energies in eV. Every number is finite or null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from planning.records import Status

SCHEMA = 1

STRUCTURE_CIF = "structure.cif"
RELAXED_CIF = "relaxed.cif"


def alternative_cif(number: int) -> str:
    """Path of the CIF of the ``number``-th alternative, counted from 1, relative to the run folder."""
    return f"alternatives/{number}.cif"


def _finite(value: Any) -> Any:
    """Replace NaN and infinity by None: JSON has neither."""
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None


Number = Annotated[float | None, BeforeValidator(_finite)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False, ser_json_inf_nan="null")


class ImageResult(_Record):
    """The input. ``shape`` is (H, W), ``pixel_size`` (y, x) in Å."""

    path: str
    sha256: str | None
    shape: tuple[int, int] | None
    pixel_size: tuple[float, float] | None
    modality: str | None
    pixel_size_source: str | None = None
    dose: Number = None
    beam_energy: Number = None
    convergence_angle: Number = None
    elements: tuple[str, ...] | None = None
    formula: str | None = None
    notices: tuple[str, ...] = ()


class StructureResult(_Record):
    """The crystal. ``cif`` is relative to the run folder; errors are standard errors."""

    cif: str
    formula: str
    natoms: int
    a: float
    b: float
    gamma: float
    layer_group: int
    origin: str
    template: str | None
    layer_group_symbol: str = ""
    symmetry_tolerance: Number = None
    symmetry_plateau: tuple[float, float] | None = None
    a_error: Number = None
    b_error: Number = None
    gamma_error: Number = None
    position_error: Number = None
    z_source: str = ""


class AlternativeResult(_Record):
    """Another explanation of the image, and its share of the posterior."""

    formula: str
    confidence: Number
    cif: str
    origin: str
    template: str | None


class EnergyResult(_Record):
    """Energies of the relaxed crystal; ``scale`` names the reference scale, ``note`` any fallback."""

    potential: str
    checkpoint: str
    energy_per_atom: Number
    formation_energy_per_atom: Number
    converged: bool
    steps: int
    relaxed_cif: str | None
    scale: str = ""
    max_force: Number = None
    initial_energy_per_atom: Number = None
    max_displacement: Number = None
    starts: int = 1
    chosen: str = ""
    note: str = ""


class CheckResult(_Record):
    """One named test."""

    name: str
    value: Number
    limit: Number
    passed: bool
    meaning: str = ""


class CalibrationResult(_Record):
    """Size and shear of the image against the crystal; ``warning`` is null when both are small."""

    scale: Number
    shear: Number
    warning: str | None


class FoundResult(_Record):
    """What one attempt came to."""

    formula: str
    template: str
    origin: str
    status: Status
    confidence: Number
    failed: tuple[str, ...]
    kept: bool


class AttemptResult(_Record):
    """One step of the planner, and what it was about: None when a stage of the attempt failed."""

    branch: str
    reason: str
    chosen_by: str
    found: FoundResult | None = None


class ErrorResult(_Record):
    """The failure of one input."""

    stage: str
    type: str
    message: str


class DenoisingResult(_Record):
    """Share of each expert, noise per pixel in the image's unit, identity of the experts, and what the gate sees.

    ``level``: signal to noise in dB; ``pattern``: family of the lattice; ``note``: what a viewer has to know.
    """

    weights: dict[str, float]
    noise: Number
    digest: str
    level: Number | None = None
    pattern: str | None = None
    note: str | None = None


class LatticeResult(_Record):
    """Projected lattice: rows a, b as (x, y) in Å of the image frame."""

    vectors: tuple[tuple[float, float], tuple[float, float]]
    significance: Number
    reflections: int


class CandidateResult(_Record):
    """One hypothesis that was compared."""

    template: str | None
    source: str
    formula: str
    origin: str
    probability: Number
    score: Number
    correlation: Number
    strain: Number
    log_likelihood: Number = None
    log_prior: Number = None


class PointDefectResult(_Record):
    """One missing or replaced atom at ``x``, ``y`` (Å, image frame); see ``reconstruction.records.PointDefect``."""

    kind: str
    element: str
    replaced_by: str | None
    x: float
    y: float
    cell: tuple[int, int]
    site: int
    strength: Number
    probability: Number


class DefectsResult(_Record):
    """Columns examined, standard errors that one missing atom of each element amounts to, and what was found."""

    sites: int
    detectable: dict[str, Number]
    found: tuple[PointDefectResult, ...]
    note: str = ""


class Result(_Record):
    """Everything a run found and decided."""

    status: Status
    confidence: Number
    image: ImageResult
    structure: StructureResult | None
    alternatives: tuple[AlternativeResult, ...]
    energy: EnergyResult | None
    checks: tuple[CheckResult, ...]
    calibration: CalibrationResult
    attempts: tuple[AttemptResult, ...]
    error: ErrorResult | None
    timings_s: dict[str, float]
    versions: dict[str, str]
    reason: str = ""
    warnings: tuple[str, ...] = ()
    denoising: DenoisingResult | None = None
    lattice: LatticeResult | None = None
    candidates: tuple[CandidateResult, ...] = ()
    searched: int = 0
    margin: Number = None
    defects: DefectsResult | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible contents, ``schema`` first."""
        return {"schema": SCHEMA, **self.model_dump(mode="json", exclude={"schema"})}

    @classmethod
    def from_dict(cls, contents: Mapping[str, Any]) -> Result:
        """Read back what :meth:`to_dict` gave.

        Raises
        ------
        ValueError
            If the schema is another one or a documented field is missing.
        """
        if contents.get("schema") != SCHEMA:
            raise ValueError(f"result.json has schema {contents.get('schema')!r}; this version reads {SCHEMA}")
        return cls.model_validate({name: value for name, value in contents.items() if name != "schema"})
