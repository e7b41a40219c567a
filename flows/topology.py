"""Who runs what on a Prefect server: work pools, their queues, the roles of workers, and where each step goes."""

from __future__ import annotations

from dataclasses import dataclass

WORKER_TYPE = "automat"
"""Type of the work pools: runs are taken by `flows.worker.WarmWorker`."""

DEPLOYMENT = "automat"
"""Name of the deployment of the flow of one file."""

DEFAULT_QUEUE = "default"


@dataclass(frozen=True)
class Pool:
    """A work pool.

    Attributes
    ----------
    name
        Of the pool.
    description
        What a person reads in the Prefect UI.
    queues
        Work queues besides the default one.
    limit
        Runs at a time in the whole pool; None for as many as there are workers.
    """

    name: str
    description: str
    queues: tuple[str, ...] = ()
    limit: int | None = None


@dataclass(frozen=True)
class Place:
    """A work pool and the queue of it; None for the default queue."""

    pool: str
    queue: str | None = None


FLOW = Pool("automat-flow", "Whole reconstructions: one run a micrograph.")
GPU = Pool("automat-gpu", "Denoising and relaxation: one run at a time for each GPU.", ("denoise", "relax"), 1)
LIBRARY = Pool("automat-library", "Search of the template library.")
WATCH = Pool("automat-watch", "Looks into drop folders.", limit=1)

POOLS = (FLOW, GPU, LIBRARY, WATCH)

STEPS = {
    "denoise": Place(GPU.name, "denoise"),
    "relax": Place(GPU.name, "relax"),
    "retrieve": Place(LIBRARY.name),
}
"""Steps that can run on a worker of their own, and where."""

ROLES = {
    "flow": (Place(FLOW.name),),
    "denoise": (STEPS["denoise"],),
    "relax": (STEPS["relax"],),
    "gpu": (STEPS["denoise"], STEPS["relax"]),
    "library": (STEPS["retrieve"],),
    "watch": (Place(WATCH.name),),
}
"""What a worker may be asked to do, by name."""


def places(roles: list[str]) -> dict[str, tuple[str, ...]]:
    """Pools that a worker of some roles serves, each with the queues it takes from; none named: all.

    Raises
    ------
    KeyError
        For an unknown role.
    """
    wanted: dict[str, set[str]] = {}
    for role in roles:
        for place in ROLES[role]:
            wanted.setdefault(place.pool, set()).update([place.queue] if place.queue else [])
    return {pool: tuple(sorted(queues)) for pool, queues in wanted.items()}
