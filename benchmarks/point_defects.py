"""Recall and precision of point defects in simulated images, by dose.

    python -m benchmarks.point_defects --templates 1H-MX2:Mo-S graphene:C --seeds 3 --out DIR

Every monolayer of the embedded library that is named is imaged by multislice with missing (and replaced) atoms and
registered with its own structure: what is measured is the search for defects, not the retrieval. A defective column
counts once, however many of its atoms are; columns near the border are not examined and do not count. Perfect images,
``--vacancies 0 --substitutions 0``, count false alarms.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from library.records import Template
from library.store import EMBEDDED, Library
from microscopy.micrograph import Modality
from microscopy.optics import Optics
from microscopy.simulation import Simulation, SimulationOptions, simulate
from reconstruction.alignment import align
from reconstruction.hypotheses import Proposal, hypothesise
from reconstruction.lattice import find_lattice
from reconstruction.measurement import measure
from reconstruction.point_defects import find_point_defects
from reconstruction.point_field import EDGE
from reconstruction.reconstruct import reconstruct
from reconstruction.records import Candidates, PointDefects
from reconstruction.spectrum import highest_frequency

NEAR = 0.5
"""Å between a defect and where it is reported: less than half of any distance between columns."""

MARGIN = 0.3
"""Å beyond the border of what is examined within which a defect may or may not be: registration decides."""

STRAIN = 0.05
THERMAL = 0.07
"""Å rms of thermal motion at room temperature."""


@dataclass(frozen=True)
class Counts:
    """Of the images of one condition.

    Attributes
    ----------
    columns
        Examined.
    true, hit
        Defective columns among them, and those that were found.
    found, right, named
        Defects reported, those that are near a true one, and those whose kind and elements are true as well.
    seconds
        Of the search.
    """

    columns: int = 0
    true: int = 0
    hit: int = 0
    found: int = 0
    right: int = 0
    named: int = 0
    seconds: float = 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


def count(simulation: Simulation, examined: PointDefects, seconds: float = 0.0) -> Counts:
    """Match what was found with the truth, column by column."""
    assert simulation.micrograph.pixel_size is not None
    truth: dict[tuple[float, float], set[tuple[str, str | None]]] = {}
    for each in simulation.truth.defects:
        assert each.position is not None
        x, y = np.round(each.position, 2).tolist()
        truth.setdefault((x, y), set()).add((simulation.truth.structure[each.site].specie.symbol, each.element))
    places = np.array(list(truth)).reshape(-1, 2)
    found = np.array([each.position for each in examined.found]).reshape(-1, 2)
    far = (np.array(simulation.micrograph.image.shape[::-1]) - 1) * simulation.micrograph.pixel_size[::-1]
    # What lies on the border of what is examined is neither demanded nor held against the search.
    demanded = ((places >= EDGE + MARGIN) & (places <= far - EDGE - MARGIN)).all(axis=1)
    near = np.linalg.norm(places[:, None] - found[None], axis=2) < NEAR
    named = [
        any(
            (each.element, each.replaced_by) in changes
            for changes, hit in zip(truth.values(), hits, strict=True)
            if hit
        )
        for each, hits in zip(examined.found, near.T, strict=True)
    ]
    return Counts(
        columns=examined.sites,
        true=int(demanded.sum()),
        hit=int(near[demanded].any(axis=1).sum()),
        found=len(found),
        right=int(near.any(axis=0).sum()),
        named=sum(named),
        seconds=seconds,
    )


def search(template: Template, simulation: Simulation) -> tuple[PointDefects, float] | None:
    """Look for the defects of an image of a known monolayer, and the seconds it took; None when no lattice is seen."""
    micrograph = simulation.micrograph
    lattice = find_lattice(micrograph, highest_frequency(micrograph))
    if lattice is None:
        return None
    measurement = measure(micrograph, lattice)
    found = align(template.structure, measurement, STRAIN)
    if not found:
        return None
    candidate = hypothesise(Proposal(template, template.structure, "template", 1.0, found), measurement)
    perfect = reconstruct(micrograph, Candidates((candidate,), lattice, np.inf, 1))
    start = time.perf_counter()
    examined = find_point_defects(micrograph, perfect)
    return examined, time.perf_counter() - start


def rows(options: argparse.Namespace) -> Iterator[str]:
    """One line of the table for each monolayer and dose."""
    library = Library.open(EMBEDDED)
    optics = Optics(Modality(options.modality))
    artefacts = {"vacancies": options.vacancies, "substitutions": options.substitutions, **dict(options.artefact)}
    for id in options.templates:
        template = library.template(library.ids.index(id))
        for dose in options.doses:
            total, detectable, refused = Counts(), [], 0
            for seed in range(options.seeds):
                view = SimulationOptions(
                    optics=optics,
                    shape=(options.side, options.side),
                    dose=dose,
                    rotation=11.0 + 17.0 * seed,
                    thermal_sigma=THERMAL,
                    seed=seed,
                    artefacts=artefacts,
                )
                simulation = simulate(template.structure, view, options.out / "cells")
                answer = search(template, simulation)
                if answer is None:
                    refused += 1
                    continue
                total += count(simulation, *answer)
                detectable.append(answer[0].detectable)
            errors = ", ".join(f"{e} {np.mean([each[e] for each in detectable]):.1f}" for e in (detectable or [{}])[0])
            ratios = [_ratio(total.hit, total.true), _ratio(total.right, total.found), _ratio(total.named, total.right)]
            ratios.append(str(total.found - total.right))
            seconds = total.seconds / max(len(detectable), 1)
            yield f"| {id} | {dose:.0e} | {total.columns} | {errors} | {' | '.join(ratios)} | {seconds:.2f} |" + (
                f" no lattice in {refused}" if refused else ""
            )


def _ratio(part: int, whole: int) -> str:
    return f"{part}/{whole} = {part / whole:.3f}" if whole else "–"


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.point_defects", description=__doc__.split("\n")[0])
    parser.add_argument("--templates", nargs="+", default=["1H-MX2:Mo-S", "1H-MX2:W-Se", "graphene:C"])
    parser.add_argument("--doses", nargs="+", type=float, default=[3e4, 1e5, 1e6], help="e/Å²")
    parser.add_argument("--vacancies", type=float, default=0.02, help="share of the atoms")
    parser.add_argument("--substitutions", type=float, default=0.0, help="share of the atoms")
    parser.add_argument("--artefact", nargs=2, action="append", default=[], metavar=("NAME", "STRENGTH"), help="more")
    parser.add_argument("--modality", default=Modality.IDPC.value)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--side", type=int, default=512, help="pixels of 0.1 Å")
    parser.add_argument("--out", type=Path, required=True, help="folder for cached cell images")
    options = parser.parse_args(arguments)
    options.artefact = [(name, float(strength)) for name, strength in options.artefact]
    print("| monolayer | e/Å² | columns | standard errors of a vacancy | recall | precision | named | false | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows(options):
        print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
