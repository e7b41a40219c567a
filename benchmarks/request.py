"""What someone asks of a benchmark, besides the suite and where its results go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """How to run suites.

    Attributes
    ----------
    source, ids
        True structures (the embedded library when None), and those to draw from (all when None).
    limit
        Materials at most; None for each suite's own number.
    seed
        Of the draw, the views and the noise.
    workers, runner
        Processes, and what runs them: ``process`` or ``dask``.
    scheduler
        Address of a Dask cluster that is there, and has its own workers; None to start one where it is needed.
    command
        What was typed.
    potential
        Name or path of the potential; None for the product's default.
    """

    source: Path | None
    ids: tuple[str, ...] | None
    limit: int | None
    seed: int
    workers: int
    runner: str
    command: str
    potential: str | None = None
    scheduler: str | None = None
