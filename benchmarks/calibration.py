"""Fit the confidence to images whose truth is known.

    python -m benchmarks.calibration --db FILE.db --skip IDS.txt --library DIR --limit 60 --seed 11 --out DIR

Every material is imaged under conditions drawn at random: the dose, artefacts in half of the images, a small error of
the pixel size in half, the elements given or not, the template in the library or withheld with all that look alike.
Each is searched as the planner would: until an answer is accepted, or no branch is left. What the confidence looks at
is written beside whether that attempt was right, with the values of all checks, one JSON line a material (resumable).
Then a logistic model is fitted, cross-validated over materials, and written to ``planning/confidence.json``. ``--skip``
keeps materials out that a report is about. ``--checks`` relaxes every answer, too, and fits nothing: the samples are
for ``benchmarks.checks``.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import GEOMETRY, REGIMES, Case
from benchmarks.evaluate import picture
from benchmarks.libraries import alike
from benchmarks.materials import Material, draw, load_materials
from benchmarks.measuring import threads
from benchmarks.metrics import score
from benchmarks.pipeline import denoised
from benchmarks.reliability import calibration_error, chance_error
from library.store import Library, open_libraries
from microscopy.errors import PotentialError
from microscopy.micrograph import Micrograph
from models.denoising import MIXTURE
from models.formation import relax
from models.potentials import load_potential
from models.relaxation import RelaxOptions
from planning.confidence import MODEL, features
from planning.planner import Situation, legal_branches
from planning.records import Status, Verdict
from planning.search import Search
from planning.verify import ACCEPTED_CONFIDENCE, verify
from reconstruction.drift import undrifted_micrograph
from reconstruction.reconstruct import reconstruct
from reconstruction.records import Candidates, Reconstruction
from reconstruction.retrieval import RetrievalOptions, retrieve

DOSES = (3e2, 6e4)
"""e/Å², between which the dose is drawn, evenly in its logarithm."""

CONDITIONS = 6
"""Images of each material."""

CALIBRATION = 0.03
"""Largest relative error of the stated pixel size in half of the images: templates and microscopes never agree exactly,
and a confidence fitted to perfect agreement would distrust every real image."""

ARTEFACTS = {
    "scan_shear": (-0.2, 0.2),
    "scan_scale": (-0.1, 0.1),
    "drift": (0.5, 5.0),
    "line_jitter": (0.02, 0.15),
    "defocus": (10.0, 60.0),
    "astigmatism": (10.0, 60.0),
    "source_size": (0.1, 0.5),
    "tilt": (0.5, 4.0),
    "background": (0.2, 1.5),
}
"""Artefacts and the strengths between which they are drawn; up to two at once. Not vacancies: an image with some needs
a multislice of the whole field, minutes each, and the few that a lattice bears hardly change its average cell."""

FOLDS = 5

REGULARISATION = 0.3
"""Inverse strength of the penalty on the weights: of 0.1, 0.3, 1 and 3 among those that predict materials that were
left out best."""

RELAX = RelaxOptions(max_seconds=30.0)
"""Enough for the cells that are drawn."""

MAX_ATOMS = 12
"""Larger cells cost minutes each and say the same."""


def condition(material: Material, number: int, seed: int) -> tuple[Case, bool, bool]:
    """Case, whether the elements are given, and whether the template is withheld."""
    rng = np.random.default_rng(zlib.crc32(f"calibration/{seed}/{material.id}/{number}".encode()))
    artefacts = {}
    if rng.random() < 0.5:
        for name in rng.choice(list(ARTEFACTS), size=rng.integers(1, 3), replace=False):
            artefacts[str(name)] = float(rng.uniform(*ARTEFACTS[str(name)]))
    if rng.random() < 0.5:
        artefacts["calibration"] = float(rng.uniform(-CALIBRATION, CALIBRATION))
    dose = float(np.exp(rng.uniform(*np.log(DOSES))))
    case = Case(material.id, (), dose=dose, artefacts=artefacts, seed=1000 * seed + number)
    return case, bool(rng.random() < 0.6), bool(rng.random() < 0.5)


def samples(
    material: Material, library: Library, seed: int, work: Path, relaxed: bool = False
) -> Iterator[dict[str, Any]]:
    """Attempts on images of one material; images without a candidate have no answer to be confident of."""
    same = tuple(sorted(alike(material.structure, library)))
    for number in range(CONDITIONS):
        case, given, withheld = condition(material, number, seed)
        image = undrifted_micrograph(picture(case, material, work / "cells").micrograph)
        micrograph = replace(image, elements=material.elements if given else None, formula=None, metadata={})
        calibrated = not GEOMETRY & case.artefacts.keys()
        facts = {"id": material.id, "case": case.to_json(), "given": given, "withheld": withheld}
        for verdict, found in attempts(micrograph, library, RetrievalOptions(exclude=same if withheld else ())):
            right = score(found[1].symmetrised, material.structure, calibrated=calibrated).success
            values = features(micrograph, *found)
            judged = (_relaxed(micrograph, *found) if relaxed else None) or verdict
            yield {
                **facts,
                "features": values,
                "checks": {check.name: check.value for check in judged.checks},
                "failed": list(judged.failed),
                "success": bool(right),
            }


def _relaxed(micrograph: Micrograph, candidates: Candidates, found: Reconstruction) -> Verdict | None:
    """The verdict with the answer relaxed; None where that is impossible."""
    try:
        return verify(micrograph, candidates, found, relax(found.symmetrised, load_potential(), RELAX))
    except PotentialError:
        return None


def attempts(
    micrograph: Micrograph, library: Library, options: RetrievalOptions
) -> Iterator[tuple[Verdict, tuple[Any, Any]]]:
    """What the planner would try until it accepts: verdict, candidates and reconstruction of each attempt."""
    search, tried, likeness, seen = Search(options), [], 0.0, None
    while True:
        if search.denoised and seen is None:
            seen = denoised(micrograph, MIXTURE)
        candidates = retrieve(micrograph, library, search.options, seen)
        likeness = max(likeness, candidates.likeness)
        found = reconstruct(micrograph, candidates) if candidates.items else None
        verdict = verify(micrograph, candidates, found, None)
        if found is not None:
            yield verdict, (candidates, found)
        restricted = search.options.use_elements and micrograph.elements is not None
        made = found is not None and found.candidate.origin != "template"
        situation = Situation(0, restricted, likeness, made)
        legal = legal_branches(replace(verdict, status=Status.AMBIGUOUS), tried, situation)
        if verdict.status is Status.ACCEPTED or not legal:
            return
        tried.append(legal[0])
        search = search.after(legal[0])


def fit(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Logistic model of success, with its cross-validated log loss and calibration error.

    Every image weighs the same, however many attempts it took.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    names = list(lines[0]["features"])
    x = np.array([[line["features"][name] for name in names] for line in lines])
    y = np.array([line["success"] for line in lines])
    groups = np.array([line["id"] for line in lines])
    images = np.unique([_image(line) for line in lines], return_inverse=True)[1]
    weight = 1 / np.bincount(images)[images]
    scale = x.std(axis=0) + 1e-9
    model = LogisticRegression(C=REGULARISATION, max_iter=5000)
    predicted = np.zeros(len(y))
    for train, test in GroupKFold(FOLDS).split(x, y, groups):
        model.fit(x[train] / scale, y[train], sample_weight=weight[train])
        predicted[test] = model.predict_proba(x[test] / scale)[:, 1]
    model.fit(x / scale, y, sample_weight=weight)
    weights = model.coef_[0] / scale
    answers = np.array(
        [max(np.flatnonzero(images == n), key=lambda at: predicted[at]) for n in range(images.max() + 1)]
    )
    regimes = np.array([_regime(line) for line in lines])[answers]
    return {
        "intercept": float(model.intercept_[0]),
        "weights": {name: float(weight) for name, weight in zip(names, weights, strict=True)},
        "samples": len(lines),
        "materials": len(set(groups)),
        "cross_validated": {
            "log_loss": float(np.average(_log_loss(predicted, y), weights=weight)),
            "answers": _answers(predicted[answers], y[answers]),
            **{
                name: _answers(predicted[answers][regimes == name], y[answers][regimes == name])
                for name in sorted(set(regimes))
            },
        },
    }


def _regime(line: dict[str, Any]) -> str:
    """Name of the benchmark's regime of an image."""
    asked = ("elements" if line["given"] else "nothing", line["withheld"])
    return next(name for name, regime in REGIMES.items() if (regime.known, regime.withheld) == asked)


def _image(line: dict[str, Any]) -> str:
    """What attempts on one image share."""
    return json.dumps([line["case"], line["given"], line["withheld"]])


def _log_loss(predicted: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.asarray(-np.log(np.where(right, predicted, 1 - predicted) + 1e-12))


def _answers(predicted: np.ndarray, right: np.ndarray) -> dict[str, float | int]:
    """What the confidence of answers is worth: of every image its most probable attempt."""
    sure = predicted >= ACCEPTED_CONFIDENCE
    return {
        "images": len(right),
        "right": float(right.mean()),
        "mean_confidence": float(predicted.mean()),
        "expected_calibration_error": calibration_error(predicted, right),
        "error_by_chance": chance_error(predicted),
        "sure": int(sure.sum()),
        "sure_and_right": int(right[sure].sum()),
    }


@lru_cache(maxsize=1)
def _library(folder: Path) -> Library:
    return open_libraries([folder])


def _collect(material: Material, library: Path, seed: int, work: Path, relaxed: bool) -> list[dict[str, Any]]:
    with threads(1):
        return list(samples(material, _library(library), seed, work, relaxed))


def main(arguments: list[str] | None = None) -> int:
    """Collect samples, fit, write the model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__.split("\n")[0])
    parser.add_argument("--db", type=Path, required=True, help="ASE database with the true structures")
    parser.add_argument("--skip", type=Path, help="file with the ids of materials to leave out")
    parser.add_argument("--library", type=Path, required=True, help="library built from it (automat library build)")
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--checks", action="store_true", help="relax every answer, and fit nothing")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="folder for samples and cached cell images")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    log = options.out / f"{'checks' if options.checks else 'samples'}-seed{options.seed}.jsonl"
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    skipped = {each["id"] for each in done} | set(options.skip.read_text().split() if options.skip else ())
    available = [each for each in load_materials(options.db)[0] if len(each.structure) <= MAX_ATOMS]
    wanted = draw([each for each in available if each.id not in skipped], options.limit - len(done), options.seed)
    with log.open("a") as stream, ProcessPoolExecutor(options.processes) as pool:
        jobs = {
            pool.submit(_collect, each, options.library, options.seed, options.out, options.checks): each
            for each in wanted
        }
        for job in as_completed(jobs):
            done.append({"id": jobs[job].id, "samples": job.result()})
            stream.write(json.dumps(done[-1]) + "\n")
            stream.flush()
            print(f"{jobs[job].id} {jobs[job].formula}: {len(done)} materials", file=sys.stderr)
    if options.checks:
        return 0
    model = fit([sample for each in done for sample in each["samples"]])
    model["command"] = f"python -m benchmarks.calibration --limit {options.limit} --seed {options.seed}"
    MODEL.write_text(json.dumps(model, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(model, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
