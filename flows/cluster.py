"""Workers of a Dask cluster: one started on this machine for the time of a command, or one that is there.

The same code runs on processes and on Dask, see ``library.workers``. Dask is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx

from flows.private_server import API_URL, OrchestrationError
from library.workers import TRIES, Workers, processes
from tasks.caching import code_digest

if TYPE_CHECKING:
    from distributed import Client

CONNECT_TIMEOUT = 10.0
"""Seconds a scheduler that is said to be running may take to answer."""

WORKER_TIMEOUT = 60.0
"""Seconds to wait for the first worker of a cluster."""


def workers(count: int, runner: str = "process", scheduler: str | None = None) -> Workers:
    """Give workers by what is typed.

    Parameters
    ----------
    count
        How many; a cluster that is there has its own number.
    runner
        ``process`` or ``dask``.
    scheduler
        Address of a Dask cluster that is there.

    Raises
    ------
    OrchestrationError
        If it cannot be used, see `connect`.
    """
    if scheduler is not None:
        with connect(scheduler) as client:
            return Workers(sum(client.nthreads().values()), partial(_there, scheduler))
    return processes(count) if runner == "process" else Workers(count, partial(_here, count))


def local_cluster(count: int) -> dict[str, Any]:
    """Arguments of a ``LocalCluster`` of single-threaded processes, reachable from this machine only."""
    return {"n_workers": count, "threads_per_worker": 1, "processes": True, "dashboard_address": "127.0.0.1:0"}


@contextmanager
def connect(scheduler: str) -> Iterator[Client]:
    """Connect to a cluster and check that it can do our work.

    Raises
    ------
    OrchestrationError
        If nobody answers at the address, there is no worker, or a worker has other code than this process.
    """
    from distributed import Client

    try:
        client = Client(scheduler, timeout=CONNECT_TIMEOUT, set_as_default=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise OrchestrationError(
            f"no Dask scheduler answers at {scheduler}; start one with 'dask scheduler', or correct --scheduler"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKER_TIMEOUT)
        except TimeoutError as error:
            raise OrchestrationError(
                f"the Dask scheduler at {scheduler} has no worker; start some with 'dask worker {scheduler}'"
            ) from error
        _same_code(client, scheduler)
        yield client


def _same_code(client: Client, scheduler: str) -> None:
    digests = client.run(code_digest, on_error="return")
    other = {worker: digest for worker, digest in digests.items() if digest != code_digest()}
    if other:
        worker, digest = next(iter(other.items()))
        why = f"cannot import it ({digest})" if isinstance(digest, Exception) else "has another version"
        raise OrchestrationError(
            f"{len(other)} of {len(digests)} workers at {scheduler} do not run this AutoMat: {worker} {why}; "
            "install the same version on all of them"
        )


def require_server(client: Client, url: str) -> None:
    """Check that all workers reach Prefect's server.

    Raises
    ------
    OrchestrationError
        If one does not.
    """
    cut_off = [worker for worker, reached in client.run(_reaches, url).items() if not reached]
    if cut_off:
        raise OrchestrationError(
            f"{cut_off[0]} does not reach the Prefect server at {url}; start one that all workers reach, "
            f"and set {API_URL}"
        )


def _reaches(url: str) -> bool:
    try:
        return httpx.get(f"{url.rstrip('/')}/health", timeout=CONNECT_TIMEOUT).status_code < 500
    except httpx.HTTPError:
        return False


@contextmanager
def _there(scheduler: str) -> Iterator[Executor]:
    """Give an executor on a cluster that is there."""
    with connect(scheduler) as client, _explained(scheduler):
        yield client.get_executor(pure=False)


@contextmanager
def _here(count: int) -> Iterator[Executor]:
    """Give an executor on a cluster that lives as long as the context."""
    import dask
    from distributed import Client, LocalCluster

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": TRIES - 1}),
        LocalCluster(**local_cluster(count), silence_logs="ERROR") as cluster,
        Client(cluster, set_as_default=False) as client,
        _explained("this machine"),
    ):
        yield client.get_executor(pure=False)


@contextmanager
def _explained(place: str) -> Iterator[None]:
    """Say in one line what became of a cluster."""
    from distributed import KilledWorker

    try:
        yield
    except KilledWorker as error:
        raise OrchestrationError(
            f"workers at {place} died again and again over the same piece of work, perhaps for lack of memory; give "
            "them more and run again: what is finished is kept"
        ) from error
    except CancelledError as error:
        raise OrchestrationError(
            f"the Dask scheduler at {place} was lost; run again: what is finished is kept"
        ) from error
