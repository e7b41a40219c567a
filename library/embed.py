"""The library that ships with the project, from its prototypes.

    python -m library.embed --work FILE.jsonl --out library/embedded

relaxes every decoration that FILE.jsonl does not hold yet, then writes the library; without ``--out`` it only relaxes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from library.generate import all_decorations, generate, generation_parameters, write_generated
from library.prototype_files import read_prototypes
from microscopy.errors import AutoMatError

SOURCE = "AutoMat prototypes"
LICENCE = "Apache-2.0"


def main(arguments: list[str] | None = None) -> int:
    """Relax and write from a terminal."""
    parser = argparse.ArgumentParser(prog="python -m library.embed", description=main.__doc__)
    parser.add_argument("--work", type=Path, required=True, help="file of finished decorations, made and extended")
    parser.add_argument("--out", type=Path, help="write the library to this folder when all are finished")
    options = parser.parse_args(arguments)
    began = time.monotonic()

    def report(message: str, done: int, total: int | None) -> None:
        print(f"{time.monotonic() - began:8.1f} s {done}/{total} {message}", file=sys.stderr, flush=True)

    try:
        prototypes = read_prototypes()
        items = list(generate(all_decorations(prototypes), options.work, progress=report))
        if options.out is not None:
            facts = {"command": "python -m library.embed", "parameters": generation_parameters(prototypes)}
            manifest = write_generated(items, options.out, facts, source=SOURCE, licence=LICENCE)
            print(json.dumps({"count": manifest["count"], "refusals": manifest["refusals"]}))
    except AutoMatError as error:
        print(f"{error.stage}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
