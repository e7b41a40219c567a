"""One job by one worker and by two, on processes and on Dask: the same command, but for two options."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import median

from ase.db import connect
from pymatgen.io.ase import AseAtomsAdaptor

from benchmarks.scaling.usage import Usage, used_by
from benchmarks.tables import Table
from benchmarks.variants import variants
from library.store import open_libraries

AUTOMAT = (sys.executable, "-c", "from flows.cli import main; main()")

RUNNERS, COUNTS = ("process", "dask"), (1, 2)

SEED = 1

TITLE = "One worker and two"


@dataclass(frozen=True)
class Job:
    """A command that more workers may finish sooner.

    Attributes
    ----------
    name
        What it does.
    arguments
        Of ``automat``, but for ``--workers``, ``--runner`` and ``--out``.
    """

    name: str
    arguments: tuple[str, ...]


def jobs(out: Path, materials: int, entries: int) -> list[Job]:
    """Return the benchmark ``quick``, and the building of a library."""
    quick = Job(f"bench run quick, {2 * materials} images", ("bench", "run", "quick", "--limit", str(materials)))
    source = str(structures(out / f"structures-{entries}.db", entries))
    return [quick, Job(f"library build, {entries:,} structures", ("library", "build", source))]


def structures(path: Path, count: int) -> Path:
    """Database of seeded variants of the embedded library, made unless it is there."""
    if not path.exists():
        draft = path.with_suffix(".part.db")
        draft.unlink(missing_ok=True)
        with connect(draft) as database:
            for entry in islice(variants(open_libraries(None), count, SEED), count):
                atoms = AseAtomsAdaptor.get_atoms(entry.structure, msonable=False)
                atoms.info.clear()
                database.write(atoms)
        draft.replace(path)
    return path


def measure(
    todo: Sequence[Job], out: Path, repeats: int, say: Callable[[str], None] = print
) -> Iterator[tuple[Job, str, int, Usage]]:
    """Yield what each job used, by runner and number of workers; in turn, so that other load meets all alike.

    What is measured is kept in ``out``, and is not measured again.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "AUTOMAT_CACHE": str(out / "cache")}
    environment = {name: value for name, value in environment.items() if not name.startswith("PREFECT_")}
    kept = out / "teams.jsonl"
    known = dict(map(_line, kept.read_text().splitlines())) if kept.exists() else {}
    rounds = itertools.product(range(repeats + 1), todo, RUNNERS, COUNTS)
    for number, job, runner, count in rounds:
        if number == 0 and (runner, count) != (RUNNERS[0], COUNTS[0]):
            continue  # the first round only fills the cache of simulated images and the disk's
        key = f"{job.name} {runner} {count} {number}"
        if key not in known:
            target = out / "work"
            shutil.rmtree(target, ignore_errors=True)
            options = ("--workers", str(count), "--runner", runner, "--out", str(target))
            known[key] = used_by((*AUTOMAT, *job.arguments, *options), environment, out / "log.txt")
            with kept.open("a") as stream:
                stream.write(json.dumps({"key": key, **asdict(known[key])}) + "\n")
            say(f"{key}: {known[key]}")
        if number:
            yield job, runner, count, known[key]


def table(measured: Sequence[tuple[Job, str, int, Usage]]) -> Table:
    """Seconds, speed-up and efficiency, side by side."""
    groups: dict[tuple[str, str, int], list[Usage]] = {}
    for job, runner, count, usage in measured:
        groups.setdefault((job.name, runner, count), []).append(usage)
    rows = tuple(_row(key, groups) for key in groups)
    counted = ("CPU seconds", "longest path, CPU seconds", "speed-up", "efficiency")
    clock = ("seconds (range)", "cores had", "speed-up on the clock", "peak, MiB")
    repeats = max(len(group) for group in groups.values())
    note = (
        f"Medians of {repeats} in turn; start and end of the command included. Longest path: CPU seconds of the "
        "command's first process and of the busiest other one. Speed-up: path of one worker of the same runner over "
        "path, which is that on cores of one's own where nothing is waited for; efficiency: over workers. Cores had: "
        "CPU seconds over seconds. Where that is well below the number of workers, others had the cores, and the clock "
        "tells of them. Peak: of the largest process."
    )
    return Table(TITLE, ("job", "runner", "workers", *counted, *clock), rows, note)


def _row(key: tuple[str, str, int], groups: Mapping[tuple[str, str, int], Sequence[Usage]]) -> tuple[str, ...]:
    name, runner, count = key
    walls = [usage.wall_s for usage in groups[key]]
    cpu, path = (median(getattr(usage, each) for usage in groups[key]) for each in ("cpu_s", "path_s"))
    alone = groups[name, runner, COUNTS[0]]
    speedup = median(usage.path_s for usage in alone) / path
    return (
        name,
        runner,
        str(count),
        f"{cpu:.1f}",
        f"{path:.1f}",
        f"{speedup:.2f}",
        f"{speedup / count:.0%}",
        f"{median(walls):.1f} ({min(walls):.1f} to {max(walls):.1f})",
        f"{cpu / median(walls):.2f}",
        f"{median(usage.wall_s for usage in alone) / median(walls):.2f}",
        f"{max(usage.peak_mib for usage in groups[key]):.0f}",
    )


def _line(text: str) -> tuple[str, Usage]:
    values = json.loads(text)
    return values.pop("key"), Usage(**values)
