"""Fit the confidence to images whose truth is known.

    python -m benchmarks.calibration --db FILE.db --limit 60 --seed 11 --out DIR

Every material is imaged at several doses and reconstructed with its template in the library and withheld (with all
that look alike), with its elements given and not. What the confidence looks at is written beside whether the answer
was right, one JSON line each (resumable); then a logistic model is fitted, cross-validated over materials, and written
to ``planning/confidence.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import Case
from benchmarks.evaluate import picture
from benchmarks.libraries import alike
from benchmarks.materials import Material, draw, load_materials
from benchmarks.metrics import score
from benchmarks.reliability import calibration_error
from library.store import Library, open_libraries
from planning.confidence import MODEL, features
from reconstruction.reconstruct import reconstruct
from reconstruction.retrieval import RetrievalOptions, retrieve

DOSES = (3e2, 1e3, 1e4, 6e4)

CALIBRATION = 0.03
"""Largest relative error of the stated pixel size: templates and microscopes never agree exactly, and a confidence
fitted to perfect agreement would distrust every real image. Answers are judged with the scale left free."""

FOLDS = 5

MAX_ATOMS = 12
"""Larger cells cost minutes each and say the same."""


def samples(material: Material, library: Library, seed: int, work: Path) -> Iterator[dict[str, Any]]:
    """Reconstruct one material under every condition; images without a candidate have no answer to be confident of."""
    same = tuple(sorted(alike(material.structure, library)))
    for dose in DOSES:
        view = Case(material.id, (), dose=dose, seed=seed)
        error = float(np.random.default_rng(view.view_seed + 1).uniform(-CALIBRATION, CALIBRATION))
        image = picture(replace(view, artefacts={"calibration": error}), material, work / "cells").micrograph
        for given, withheld in product((True, False), repeat=2):
            micrograph = replace(image, elements=material.elements if given else None, formula=None, metadata={})
            found = retrieve(micrograph, library, RetrievalOptions(exclude=same if withheld else ()))
            sample: dict[str, Any] = {"id": material.id, "dose": dose, "given": given, "withheld": withheld}
            if found.items:
                answer = reconstruct(micrograph, found)
                sample["features"] = features(micrograph, found, answer)
                sample["success"] = bool(score(answer.symmetrised, material.structure, calibrated=False).success)
            yield sample


def fit(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Logistic model of success, with its cross-validated log loss and calibration error."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict

    answered = [line for line in lines if "features" in line]
    names = list(answered[0]["features"])
    x = np.array([[line["features"][name] for name in names] for line in answered])
    y = np.array([line["success"] for line in answered])
    groups = [line["id"] for line in answered]
    scale = x.std(axis=0) + 1e-9
    model = LogisticRegression(C=3.0, max_iter=2000)
    predicted = cross_val_predict(model, x / scale, y, groups=groups, cv=GroupKFold(FOLDS), method="predict_proba")[
        :, 1
    ]
    model.fit(x / scale, y)
    weights = model.coef_[0] / scale
    sure = predicted > 0.9
    return {
        "intercept": float(model.intercept_[0]),
        "weights": {name: float(weight) for name, weight in zip(names, weights, strict=True)},
        "samples": len(answered),
        "materials": len(set(groups)),
        "cross_validated": {
            "log_loss": float(-np.log(np.where(y, predicted, 1 - predicted) + 1e-12).mean()),
            "expected_calibration_error": calibration_error(predicted, y),
            "share_above_0.9": float(sure.mean()),
            "right_above_0.9": float(y[sure].mean()) if sure.any() else None,
        },
    }


def main(arguments: list[str] | None = None) -> int:
    """Collect samples, fit, write the model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__.split("\n")[0])
    parser.add_argument("--db", type=Path, required=True, help="ASE database with the true structures")
    parser.add_argument("--library", type=Path, required=True, help="library built from it (automat library build)")
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--out", type=Path, required=True, help="folder for samples and cached cell images")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    log = options.out / f"samples-seed{options.seed}.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {line["id"] for line in lines}
    library = open_libraries([options.library])
    with log.open("a") as stream:
        available = [each for each in load_materials(options.db)[0] if len(each.structure) <= MAX_ATOMS]
        for material in draw(available, options.limit, options.seed):
            if material.id in done:
                continue
            found = list(samples(material, library, options.seed, options.out))
            stream.writelines(json.dumps(line) + "\n" for line in found)
            stream.flush()
            lines += found
            print(f"{material.id} {material.formula}: {len(lines)} samples", file=sys.stderr)
    model = fit(lines)
    model["command"] = f"python -m benchmarks.calibration --limit {options.limit} --seed {options.seed}"
    MODEL.write_text(json.dumps(model, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(model, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
