"""What more workers gain, and what a micrograph costs.

    python -m benchmarks.scaling --out DIR [--document docs/sizing.md]

measures, in turn and repeated, the benchmark ``quick`` and the building of a library by one worker and by two, on
processes and on Dask; and the product's flow on the images of ``quick`` in one process, against a whole Prefect
server. A run that is stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.document import put
from benchmarks.scaling import micrographs, sizing, teams
from benchmarks.tables import Table
from microscopy.errors import AutoMatError


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for what is measured")
    parser.add_argument("--document", type=Path, help="put the tables into this document")
    parser.add_argument("--repeats", type=int, default=3, help="runs by one worker and two; 0 for none")
    parser.add_argument("--materials", type=int, default=6, help="of the benchmark; twice as many images")
    parser.add_argument("--entries", type=int, default=3072, help="structures of the library")
    parser.add_argument("--database", help="connection URL for Prefect's server; a file by default")
    options = parser.parse_args(arguments)
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    try:
        for table in _tables(out, options):
            print(f"{table.title}\n\n{table.markdown()}\n\n{table.note}\n", flush=True)
            if options.document:
                put(options.document, f"scaling: {table.title}", f"{table.markdown()}\n\n{table.note}")
    except AutoMatError as error:
        print(f"{error.stage}: {error}", file=sys.stderr)
        return 1
    return 0


def _tables(out: Path, options: argparse.Namespace) -> list[Table]:
    _say(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    measured = micrographs.measure(out, options.materials, options.database)
    tables = [sizing.costs(measured), sizing.stages(measured), sizing.needs(measured)]
    if options.repeats:
        todo = teams.jobs(out, options.materials, options.entries)
        tables.insert(0, teams.table(list(teams.measure(todo, out, options.repeats, _say))))
    return tables


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
