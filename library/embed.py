"""The library that ships with the project, from its prototypes.

    python -m library.embed --work FILE.jsonl --out library/embedded

relaxes every decoration that FILE.jsonl does not hold yet, then writes the library; without ``--out`` it only relaxes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from library.build import MODALITIES, Progress, build_from_entries
from library.decoration import read_prototypes
from library.generate import OPTIONS, POTENTIAL, SOFT_OPTIONS, SOFT_POTENTIAL, Generated, generate
from library.sources import Entry, Refusal
from microscopy.errors import AutoMatError

SOURCE = "AutoMat prototypes"
LICENCE = "Apache-2.0"


def build_embedded(items: Iterable[Generated], out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Write the relaxed decorations of the prototypes as a library; see `library.build.build_library`."""
    entries = (_entry(item) for item in items)
    soft = sorted(prototype.name for prototype in read_prototypes() if prototype.soft)
    parameters = {
        "potential": POTENTIAL,
        "max_force": OPTIONS.max_force,
        "soft": {"prototypes": soft, "potential": SOFT_POTENTIAL, "max_force": SOFT_OPTIONS.max_force},
        "max_steps": OPTIONS.max_steps,
    }
    facts = {"command": "python -m library.embed", "parameters": parameters}
    return build_from_entries(entries, out, MODALITIES, facts, progress)


def _entry(item: Generated) -> Entry | Refusal:
    if item.structure is None:
        return Refusal(item.id, item.refusal)
    return Entry(item.id, item.structure, SOURCE, LICENCE, "", item.prototype)


def main(arguments: list[str] | None = None) -> int:
    """Relax and write from a terminal."""
    parser = argparse.ArgumentParser(prog="python -m library.embed", description=main.__doc__)
    parser.add_argument("--work", type=Path, required=True, help="file of finished decorations, made and extended")
    parser.add_argument("--out", type=Path, help="write the library to this folder when all are finished")
    options = parser.parse_args(arguments)
    began = time.monotonic()

    def report(done: int, total: int, message: str) -> None:
        print(f"{time.monotonic() - began:8.1f} s {done}/{total} {message}", file=sys.stderr, flush=True)

    try:
        items = list(generate(options.work, report))
        if options.out is not None:
            manifest = build_embedded(items, options.out)
            print(json.dumps({"count": manifest["count"], "refusals": manifest["refusals"]}))
    except AutoMatError as error:
        print(f"{error.stage}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
