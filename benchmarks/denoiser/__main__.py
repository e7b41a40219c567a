"""Run one suite; see the package."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.denoiser import gate, invention, quality, reconstruction, vacancies
from benchmarks.denoiser.output import Row, measured
from benchmarks.denoiser.request import Request, add_competitors, names
from benchmarks.tables import Table
from microscopy.cache import cache_folder
from microscopy.errors import AutoMatError
from microscopy.micrograph import Modality

Suite = tuple[Callable[[Request], Iterator[Row]], Callable[[Sequence[Row]], list[Table]]]

SUITES: Mapping[str, Suite] = {
    "quality": (quality.rows, quality.tables),
    "vacancies": (vacancies.rows, vacancies.tables),
    "invention": (invention.rows, invention.tables),
    "gate": (gate.rows, gate.tables),
    "reconstruction": (reconstruction.rows, reconstruction.tables),
}


def parsed(arguments: list[str] | None) -> tuple[str, Request]:
    """Suite and request from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.denoiser", description="What denoisers are worth.")
    parser.add_argument("suite", choices=list(SUITES))
    parser.add_argument("--source", type=Path, help="true structures; the embedded library if none")
    parser.add_argument("--ids", type=Path, help="file of ids to draw from, one a line")
    parser.add_argument("--limit", type=int, default=6, help="materials")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="folder for rows and tables")
    parser.add_argument("--cache", type=Path, help="folder of multislice images, libraries and answers of peers")
    add_competitors(parser)
    parser.add_argument("--doses", help="comma-separated, e/Å²; 0 is no noise")
    parser.add_argument("--modalities", type=names, default="iDPC,HAADF")
    parser.add_argument("--sides", help="comma-separated, pixels along the edge")
    parser.add_argument("--regimes", type=names, default="I,II")
    parser.add_argument("--vacancies", type=float, default=0.02, help="share of the atoms")
    parser.add_argument("--tries", type=int, default=20, help="images of each kind of noise")
    given = parser.parse_args(arguments)
    doses = None if given.doses is None else tuple(float(dose) or None for dose in given.doses.split(","))
    request = Request(
        source=given.source,
        ids=None if given.ids is None else tuple(given.ids.read_text(encoding="utf-8").split()),
        limit=given.limit,
        seed=given.seed,
        out=given.out,
        cache=given.cache or cache_folder() / "bench",
        denoisers=given.denoisers,
        peers=given.peers,
        doses=doses,
        modalities=tuple(Modality(name) for name in given.modalities),
        sides=None if given.sides is None else tuple(int(side) for side in given.sides.split(",")),
        regimes=given.regimes,
        vacancies=given.vacancies,
        tries=given.tries,
    )
    return given.suite, request


def main(arguments: list[str] | None = None) -> int:
    """Run a suite, print its tables and keep them."""
    suite, request = parsed(arguments)
    measure, tabulate = SUITES[suite]
    command = shlex.join(["python", "-m", "benchmarks.denoiser", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        measured(measure(request), tabulate, request.out, suite, command)
    except AutoMatError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
