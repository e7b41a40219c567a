"""What is measured: one image of one material under named conditions, and the questions asked of it.

A case is plain data. Its key is a hash of everything that shapes its image and its answers, so a result that exists
under a key need never be computed again.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

Known = Literal["nothing", "elements", "formula", "mistaken"]


@dataclass(frozen=True)
class Regime:
    """What the user knows, and whether the library holds the material."""

    known: Known
    withheld: bool
    meaning: str


REGIMES: Mapping[str, Regime] = {
    "I": Regime("elements", False, "template in the library, elements given"),
    "II": Regime("nothing", False, "template in the library, elements unknown"),
    "III": Regime("elements", True, "template withheld, elements given"),
    "IV": Regime("nothing", True, "template withheld, elements unknown"),
    "I, mistaken": Regime("mistaken", False, "template in the library, one of the elements given is not there"),
    "formula": Regime("formula", False, "template in the library, formula given"),
    "formula, withheld": Regime("formula", True, "template withheld, formula given"),
}
"""The regimes of every table. Withheld: the material, and every template that a structure matcher calls the same."""


GEOMETRY = frozenset({"scan_shear", "scan_scale", "calibration", "tilt"})
"""Artefacts after which lengths in the image are not those of the crystal."""


@dataclass(frozen=True)
class Variant:
    """How the pipeline is run; the default is what the product does, anything else is an ablation.

    Attributes
    ----------
    name
        Row of the ablation table.
    hint
        Only the true template is searched: what retrieval costs.
    single
        Only the first template of the fingerprint search is registered.
    denoiser
        The image is denoised with this expert before it is measured; empty: the image as recorded.
    average
        The image is replaced by its unit-cell average before it is measured.
    planner
        Who decides after a failed check.
    """

    name: str = "default"
    hint: bool = False
    single: bool = False
    denoiser: str = ""
    average: bool = False
    planner: Literal["rules", "none", "llm"] = "rules"


DEFAULT = Variant()


@dataclass(frozen=True)
class Question:
    """One run of the pipeline on the image of a case."""

    regime: str
    relax: bool = False
    variant: Variant = DEFAULT

    def __post_init__(self) -> None:
        if self.regime not in REGIMES:
            raise ValueError(f"regime {self.regime!r}: choose one of {', '.join(REGIMES)}")


@dataclass(frozen=True)
class Case:
    """One image and the questions asked of it.

    Attributes
    ----------
    material
        Id of the true structure.
    questions
        Every way in which the pipeline is run on the image.
    dose
        Electrons per Å²; None where the noise model has no dose.
    artefacts
        Strength by name, see ``microscopy.artefacts``.
    noise
        Level of the STEM2Crystal noise model; empty for electrons counted per detector segment.
    shape, pixel_size
        (H, W) in pixels, Å.
    field_cells
        Cells along the edge of a field of view that was chosen small; 0 otherwise.
    seed
        Of the suite: the material's view and noise follow from it and the material's id.
    displacement
        Å rms by which the templates of the library differ from the materials.
    threads
        Threads that the numerical libraries may use.
    export
        Keep the five best structures with the result.
    """

    material: str
    questions: tuple[Question, ...]
    dose: float | None = None
    artefacts: Mapping[str, float] = field(default_factory=dict)
    noise: str = ""
    shape: tuple[int, int] = (512, 512)
    pixel_size: float = 0.1
    field_cells: int = 0
    seed: int = 1
    displacement: float = 0.0
    threads: int = 1
    export: bool = False

    @property
    def key(self) -> str:
        """Hash of everything above."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @property
    def view_seed(self) -> int:
        """Seed of rotation, handedness, origin and noise: the same at every dose and with every artefact."""
        return zlib.crc32(f"{self.seed}/{self.material}".encode())

    @property
    def condition(self) -> str:
        """What the image is like, in a few words."""
        parts = [f"{self.dose:g} e/Å²"] if self.dose is not None else []
        parts += [f"{name} {strength:g}" for name, strength in self.artefacts.items()]
        parts += [f"field of {self.field_cells} cells"] if self.field_cells else []
        parts += [f"noise {self.noise}"] if self.noise else []
        parts += [f"templates displaced {self.displacement:g} Å"] if self.displacement else []
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Plain values; `case_from_json` reads them back."""
        return asdict(self)


def case_from_json(values: Mapping[str, Any]) -> Case:
    """Inverse of `Case.to_json`."""
    questions = tuple(
        Question(each["regime"], each["relax"], Variant(**each["variant"])) for each in values["questions"]
    )
    return Case(**{**values, "questions": questions, "shape": tuple(values["shape"])})


def orientation(case: Case) -> tuple[float, bool]:
    """Rotation in degrees and whether the crystal is seen from its other side."""
    rng = np.random.default_rng(case.view_seed)
    return float(rng.uniform(0, 360)), bool(rng.random() < 0.5)
