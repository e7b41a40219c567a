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
    model_config = ConfigDict(
        frozen=True, extra="allow", allow_inf_nan=False, ser_json_inf_nan="null", use_attribute_docstrings=True
    )


class ImageResult(_Record):
    """The input."""

    path: str
    """As it was given."""
    sha256: str | None
    """Of the file's content; null when it could not be read."""
    shape: tuple[int, int] | None
    """(H, W) in pixels."""
    pixel_size: tuple[float, float] | None
    """(y, x) in Å."""
    modality: str | None
    """iDPC, HAADF, ADF, ABF, phase or unknown."""
    pixel_size_source: str | None = None
    """``file``, ``user`` or ``estimate``."""
    dose: Number = None
    """Electrons per Å²."""
    beam_energy: Number = None
    """eV."""
    convergence_angle: Number = None
    """Semi-angle, mrad."""
    elements: tuple[str, ...] | None = None
    """Symbols that the user gave."""
    formula: str | None = None
    """Reduced formula that the user gave."""
    notices: tuple[str, ...] = ()
    """Sentences about what was changed or assumed while reading."""


class StructureResult(_Record):
    """The crystal; errors are standard errors."""

    cif: str
    """Relative to the run folder; the crystal as measured, before relaxation, with the symmetry the image supports."""
    formula: str
    """Reduced."""
    natoms: int
    """Atoms in the cell."""
    a: float
    """Length of a, Å."""
    b: float
    """Length of b, Å."""
    gamma: float
    """Angle between them, degrees."""
    layer_group: int
    """Number, 1 to 80."""
    origin: str
    """``template``, ``substitution`` or ``free``: a known structure, one with other elements, made from the image."""
    template: str | None
    """Id of the template; null for ``free``."""
    layer_group_symbol: str = ""
    """Hermann–Mauguin symbol."""
    symmetry_tolerance: Number = None
    """Å at which the layer group was found."""
    symmetry_plateau: tuple[float, float] | None = None
    """Tolerances between which it stays, Å."""
    a_error: Number = None
    """Å."""
    b_error: Number = None
    """Å."""
    gamma_error: Number = None
    """Degrees."""
    position_error: Number = None
    """Largest of any site in the plane, Å."""
    z_source: str = ""
    """Where the heights come from: ``template`` or ``bond lengths``. They are never measured."""
    elements_alike: dict[str, tuple[str, ...]] = {}
    """By element, those that would explain the image as well in its place, the other elements held."""


class AlternativeResult(_Record):
    """Another explanation of the image."""

    formula: str
    """Reduced."""
    confidence: Number
    """Its share of the posterior."""
    cif: str
    """Relative to the run folder."""
    origin: str
    """As in ``structure``."""
    template: str | None
    """As in ``structure``."""


class EnergyResult(_Record):
    """Energies of the relaxed crystal."""

    potential: str
    """Name of the potential that was used."""
    checkpoint: str
    """sha256 of its weights."""
    energy_per_atom: Number
    """eV/atom, on ``scale``."""
    formation_energy_per_atom: Number
    """eV/atom, from elements relaxed with the same weights; null when a reference is missing."""
    converged: bool
    """Whether forces and in-plane stress fell below the limit."""
    steps: int
    """Of the optimiser."""
    relaxed_cif: str | None
    """Relative to the run folder."""
    scale: str = ""
    """What the energies refer to, see docs/potentials.md: ``PBE``, ``PBE, MP2020-corrected`` or unknown."""
    max_force: Number = None
    """Largest force left, eV/Å."""
    initial_energy_per_atom: Number = None
    """eV/atom before the first step."""
    max_displacement: Number = None
    """Largest in-plane move of a site, Å."""
    starts: int = 1
    """Arrangements of heights that were tried."""
    chosen: str = ""
    """The one that led here, in words; empty when only one was tried."""
    note: str = ""
    """What a reader of the numbers has to know: a fallback, a missing reference."""


class CheckResult(_Record):
    """One named test."""

    name: str
    """See the table of checks."""
    value: Number
    """What was measured."""
    limit: Number
    """What it was held against."""
    passed: bool
    """Whether it kept the limit."""
    meaning: str = ""
    """What is measured, in words."""


class CalibrationResult(_Record):
    """The image against the crystal."""

    scale: Number
    """Size of the image's cell over the crystal's; 1 when the pixel size is right."""
    shear: Number
    """Relative difference of the principal stretches; 0 without distortion."""
    warning: str | None
    """Both in words; null when both are small."""


class FoundResult(_Record):
    """What one attempt came to."""

    formula: str
    """As in ``structure``; empty when no hypothesis fits."""
    template: str
    """As in ``structure``; empty when no hypothesis fits."""
    origin: str
    """As in ``structure``; empty when no hypothesis fits."""
    status: Status
    """Of the attempt."""
    confidence: Number
    """Of the attempt."""
    failed: tuple[str, ...]
    """Names of the checks that failed."""
    kept: bool
    """Whether the answer is from this attempt."""


class AttemptResult(_Record):
    """One step of the planner."""

    branch: str
    """What was done next; see the table of branches."""
    reason: str
    """Why."""
    chosen_by: str
    """``rules``, ``llm``, ``replay`` or ``none``."""
    found: FoundResult | None = None
    """What the attempt before it came to; null when a stage of that attempt failed."""


class ErrorResult(_Record):
    """The failure of one input."""

    stage: str
    """Step that failed."""
    type: str
    """Name of the exception."""
    message: str
    """What is wrong and what to do, one line."""


class DenoisingResult(_Record):
    """How the image was denoised."""

    weights: dict[str, float]
    """Share of each expert."""
    noise: Number
    """Standard deviation per pixel, unit of the image."""
    digest: str
    """Identity of the experts."""
    level: Number | None = None
    """Signal to noise in dB, as the gate sees it."""
    pattern: str | None = None
    """Family of the lattice, as the gate sees it."""
    note: str | None = None
    """What a viewer has to know."""


class LatticeResult(_Record):
    """Lattice of the projection, which may be finer than the crystal's."""

    vectors: tuple[tuple[float, float], tuple[float, float]]
    """Rows a, b as (x, y) in Å of the image frame."""
    significance: Number
    """Strongest reflection over the noise."""
    reflections: int
    """Number that was indexed."""


class CandidateResult(_Record):
    """One hypothesis that was compared."""

    template: str | None
    """As in ``structure``."""
    source: str
    """Where the library has it from."""
    formula: str
    """As in ``structure``."""
    origin: str
    """As in ``structure``."""
    probability: Number
    """Posterior over the candidates kept."""
    score: Number
    """Likeness of the fingerprints, 0 to 1."""
    correlation: Number
    """Of measured and predicted Fourier coefficients, 0 to 1."""
    strain: Number
    """Largest relative difference of the cell in the image from the template's."""
    log_likelihood: Number = None
    """Of the coefficients, over that of pure noise."""
    log_prior: Number = None
    """Of the hypothesis, over that of a perfect match."""


class PointDefectResult(_Record):
    """One missing or replaced atom."""

    kind: str
    """``vacancy`` or ``substitution``."""
    element: str
    """What stands there in the perfect crystal."""
    replaced_by: str | None
    """What stands there instead; null when nothing does."""
    x: float
    """Å, image frame."""
    y: float
    """Å, image frame."""
    cell: tuple[int, int]
    """Lattice translation of its cell."""
    site: int
    """Index of the atom in the structure."""
    strength: Number
    """What is missing (negative) or too much, in units of what the atom contributes: a vacancy has -1."""
    probability: Number
    """Of this defect rather than the perfect column or any other defect."""


class DefectsResult(_Record):
    """Deviations from the perfect crystal."""

    sites: int
    """Columns that were examined."""
    detectable: dict[str, Number]
    """By element, how many standard errors one missing atom amounts to."""
    found: tuple[PointDefectResult, ...]
    """The defects, most probable first."""
    note: str = ""
    """What could be seen and what could not."""


class Result(_Record):
    """Everything a run found and decided."""

    status: Status
    """``accepted``, ``ambiguous``, ``rejected`` or ``failed``."""
    confidence: Number
    """Probability that the structure is right."""
    image: ImageResult
    """The input."""
    structure: StructureResult | None
    """The crystal; null when none was found."""
    alternatives: tuple[AlternativeResult, ...]
    """The other explanations, best first."""
    energy: EnergyResult | None
    """Null when nothing was relaxed."""
    checks: tuple[CheckResult, ...]
    """Of the attempt that the answer is from."""
    calibration: CalibrationResult
    """The image against the crystal."""
    attempts: tuple[AttemptResult, ...]
    """Steps of the planner, in order."""
    error: ErrorResult | None
    """Null unless the status is ``failed``."""
    timings_s: dict[str, float]
    """Seconds by stage."""
    versions: dict[str, str]
    """Version by package."""
    reason: str = ""
    """Why the status is what it is; empty when all is well."""
    warnings: tuple[str, ...] = ()
    """Sentences to be read before the numbers are used."""
    denoising: DenoisingResult | None = None
    """Null when the run did not get so far."""
    lattice: LatticeResult | None = None
    """Null when none was found."""
    candidates: tuple[CandidateResult, ...] = ()
    """The hypotheses that were compared in the search that the answer is from, best first."""
    searched: int = 0
    """Templates compared."""
    margin: Number = None
    """Log odds of the best over the next different structure."""
    defects: DefectsResult | None = None
    """Null when they were not looked for."""

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
