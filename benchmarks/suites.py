"""The suites: which images and questions each one asks, for any list of materials."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product

from benchmarks.cases import Case, Question, Variant
from benchmarks.materials import BenchmarkError, Material
from planning.llm.endpoint import LlmError, configuration

HIGH_DOSES = (1e4, 3e4, 6e4)
"""e/Å²: those of STEM2Mat."""

LOW_DOSES = (3e2, 1e3, 3e3, 1e4)
"""e/Å²: down to what a beam-sensitive layer bears."""

MODERATE = 3e4
"""e/Å² at which one thing at a time is changed."""

ARTEFACT_STRENGTHS: Mapping[str, tuple[float, ...]] = {
    "scan_shear": (0.05, 0.1, 0.2),
    "scan_scale": (0.05, 0.1),
    "calibration": (0.02, 0.05, 0.1),
    "drift": (2.0, 5.0),
    "line_jitter": (0.1, 0.3),
    "defocus": (20.0, 60.0),
    "astigmatism": (15.0, 30.0),
    "source_size": (0.3, 0.5),
    "tilt": (2.0, 5.0),
    "background": (0.5, 2.0),
    "quantise": (8.0, 5.0),
    "vacancies": (0.02, 0.05),
    "substitutions": (0.02, 0.05),
}
"""From what happens on a good day to what happens on a bad one; meanings and units in ``microscopy.artefacts``."""

SMALL_FIELDS = (3, 5)
"""Cells of side √area along the edge of a small field of view."""

MIN_SIDE = 64
"""Pixels: below, no reader takes the file for a micrograph."""

NOISE_LEVELS = ("low", "mid", "high")

DISPLACEMENT = 0.05
"""Å rms: what relaxation with another functional moves sites by."""

ABLATION = (
    Variant("default"),
    Variant("true template given", hint=True),
    Variant("first of the search alone", single=True),
    Variant("planner off", planner="none"),
    Variant("unit-cell average", average=True),
)


@dataclass(frozen=True)
class Suite:
    """A named benchmark.

    Attributes
    ----------
    purpose
        One line.
    cases
        The cases of one material, given the seed.
    limit
        Materials drawn unless asked otherwise, as many as an afternoon on two cores allows; None for all.
    needs_source
        Whether materials other than the embedded library's must be given.
    serial
        Whether images must run one after another, because seconds are what is measured.
    peers
        Whether other tools are run on the images, too.
    """

    name: str
    purpose: str
    cases: Callable[[Material, int], Iterator[Case]]
    limit: int | None = None
    needs_source: bool = False
    serial: bool = False
    peers: bool = False


def _quick(material: Material, seed: int) -> Iterator[Case]:
    known = (Question("I", relax=True), Question("II"), Question("III"))
    yield Case(material.id, known, dose=1e4, seed=seed)
    yield Case(material.id, (Question("I"),), dose=MODERATE, artefacts={"calibration": 0.02}, seed=seed)


def _stem2mat(material: Material, seed: int) -> Iterator[Case]:
    for dose in HIGH_DOSES:
        first = Question("I", relax=dose == min(HIGH_DOSES))
        yield Case(material.id, (first, Question("II"), Question("III"), Question("IV")), dose=dose, seed=seed)


def _lowdose(material: Material, seed: int) -> Iterator[Case]:
    for dose in LOW_DOSES:
        yield Case(material.id, tuple(Question(regime) for regime in ("I", "II", "III", "IV")), dose=dose, seed=seed)


def _artefacts(material: Material, seed: int) -> Iterator[Case]:
    question = (Question("I"),)
    yield Case(material.id, question, dose=MODERATE, seed=seed)
    for name, strengths in ARTEFACT_STRENGTHS.items():
        for strength in strengths:
            yield Case(material.id, question, dose=MODERATE, artefacts={name: strength}, seed=seed)
    for cells in SMALL_FIELDS:
        side = max(MIN_SIDE, round(cells * material.area**0.5 / 0.1))
        yield Case(material.id, question, dose=MODERATE, shape=(side, side), field_cells=cells, seed=seed)


def _stem2crystal(material: Material, seed: int) -> Iterator[Case]:
    questions = (Question("formula"), Question("formula, withheld"))
    for level in NOISE_LEVELS:
        yield Case(material.id, questions, noise=level, shape=(256, 256), pixel_size=0.15, seed=seed, export=True)


def _ablation(material: Material, seed: int) -> Iterator[Case]:
    from models.denoising import CLASSICAL, EXPERTS, MIXTURE

    denoisers = tuple(Variant(f"denoised: {name}", denoiser=name) for name in (MIXTURE, CLASSICAL, *EXPERTS))
    for dose in (1e3, 1e4):
        questions = tuple(
            Question(regime, variant=variant) for regime, variant in product(("I", "II"), (*ABLATION, *denoisers))
        )
        yield Case(material.id, questions, dose=dose, seed=seed)


def _precision(material: Material, seed: int) -> Iterator[Case]:
    for dose in (1e3, 1e4, 6e4):
        for displacement in (0.0, DISPLACEMENT):
            yield Case(material.id, (Question("I"),), dose=dose, displacement=displacement, seed=seed)


def _energies(material: Material, seed: int) -> Iterator[Case]:
    for dose in HIGH_DOSES:
        yield Case(material.id, (Question("I", relax=True),), dose=dose, seed=seed)


def _planner(material: Material, seed: int) -> Iterator[Case]:
    variants = [Variant("planner none", planner="none"), Variant("planner rules")]
    with suppress(LlmError):  # nobody has to have a language model
        configuration()
        variants.append(Variant("planner llm", planner="llm"))
    known = tuple(Question(regime, variant=variant) for regime, variant in product(("I", "II"), variants))
    mistaken = tuple(Question("I, mistaken", variant=variant) for variant in variants)
    side = max(MIN_SIDE, round(5 * material.area**0.5 / 0.1))
    yield Case(material.id, (*known, *mistaken), dose=1e4, seed=seed)
    for artefact in ({"calibration": 0.08}, {"scan_shear": 0.1}, {"scan_scale": 0.1}):
        yield Case(material.id, known, dose=1e4, artefacts=artefact, seed=seed)
    yield Case(material.id, known, dose=3e3, shape=(side, side), field_cells=5, seed=seed)
    yield Case(material.id, known, dose=3e2, seed=seed)


def _speed(material: Material, seed: int) -> Iterator[Case]:
    for threads in (1, 2):
        questions = (Question("I", relax=True), Question("II"))
        yield Case(material.id, questions, dose=1e4, threads=threads, seed=seed)


def _peers(material: Material, seed: int) -> Iterator[Case]:
    for dose in (1e3, 1e4):
        yield Case(material.id, (), dose=dose, seed=seed)


SUITES: Mapping[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite("quick", "a look at everything in a few minutes", _quick, limit=6),
        Suite("stem2mat", "the paper's materials and doses in four regimes, with energies", _stem2mat, None, True),
        Suite("lowdose", "four regimes down to 300 e/Å²", _lowdose, 12),
        Suite("artefacts", "one thing wrong with the image at a time", _artefacts, 12),
        Suite(
            "stem2crystal", "the protocol of STEM2Crystal-Bench: formula given, three noise levels", _stem2crystal, 20
        ),
        Suite("ablation", "one part of the pipeline left out at a time", _ablation, 5),
        Suite(
            "precision", "positions against the Cramér–Rao bound, with exact and displaced templates", _precision, 20
        ),
        Suite("energies", "formation energies against DFT, beside those of the true structures", _energies, 60, True),
        Suite("planner", "images that fail at first, with and without the planner", _planner, 12),
        Suite("speed", "seconds and peak memory of every stage on one and two threads", _speed, 6, serial=True),
        Suite("peers", "other tools on the same images", _peers, 4, serial=True, peers=True),
    )
}


def find_suite(name: str) -> Suite:
    """Suite by name.

    Raises
    ------
    BenchmarkError
        Listing the names, when there is none.
    """
    if name not in SUITES:
        raise BenchmarkError(f"no suite {name!r}; choose one of {', '.join(SUITES)}")
    return SUITES[name]


def all_cases(suite: Suite, materials: Sequence[Material], seed: int) -> list[Case]:
    """Cases of every material, those of one material together so that its cell image is simulated once."""
    return [case for material in materials for case in suite.cases(material, seed)]
