"""A Prefect worker whose processes stay warm.

Prefect's own process worker starts Python anew for every run, which costs several seconds of imports, and the library
and the weights are read again. Here each slot is a process that lives on: it takes one run at a time, is replaced when
it dies, which its run is then reported as crashed for, and makes way for a new one after some runs.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import connection, get_context, parent_process
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio
import anyio.to_thread
from prefect.states import Cancelled
from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorker, BaseWorkerResult

from flows.topology import WORKER_TYPE
from microscopy.cache import cache_folder

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

RUNS_PER_PROCESS = 100
"""After which a process makes way: what libraries leave behind in memory goes with it."""

CANCELLATION_POLL = 3.0
"""Seconds between two looks at whether somebody cancelled a run that is under way."""

SETTLED = 0.2
"""Seconds after a run in which Prefect counts its slot as free again."""

CANCELLED = "cancelled while it ran: its process was ended"

RESTART_DELAYS = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before a worker that lost its server tries again."""

logger = logging.getLogger("automat")


class WarmResult(BaseWorkerResult):
    """Which process ran it, and 0 unless that died or lost the server."""


class Slot:
    """One warm process. Made lazily, replaced when it dies."""

    def __init__(self) -> None:
        self._executor: ProcessPoolExecutor | None = None
        self._lock = threading.Lock()

    def run(self, flow_run_id: str) -> int:
        """Run a flow run to its end, in the process; returns 0, or what to report a crash with."""
        try:
            return self._submit(execute, flow_run_id).result()
        except BrokenProcessPool:
            if self._executor is not None:  # not stopped by us
                logger.warning("the process of run %s died", flow_run_id)
            self.stop()
            return -signal.SIGKILL
        except (RuntimeError, CancelledError) as error:
            logger.warning("run %s was given up: %s", flow_run_id, error or "its worker ends")
            return 1

    def warm(self) -> None:
        """Start the process and wait until it is ready."""
        with suppress(BrokenProcessPool, CancelledError):  # stopped meanwhile
            self._submit(os.getpid).result()

    def stop(self) -> None:
        """End the process at once, with whatever it runs."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is None:
            return
        for process in list((executor._processes or {}).values()):
            process.kill()
        executor.shutdown(wait=False, cancel_futures=True)

    def _submit(self, function: Callable[..., int], *arguments: str) -> Future[int]:
        """Give the process something to do; one that has died since is replaced before it costs a run."""
        try:
            return self._process().submit(function, *arguments)
        except BrokenProcessPool:
            self.stop()
            return self._process().submit(function, *arguments)

    def _process(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._executor is None:
                self._executor = ProcessPoolExecutor(
                    1, mp_context=get_context("spawn"), initializer=_prepare, max_tasks_per_child=RUNS_PER_PROCESS
                )
            return self._executor


def _prepare() -> None:
    """Import what every run needs, and end with the worker: nobody would hear of what an orphan computes."""
    parent = parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker, which then ends this process
    import flows.drop
    import flows.placement  # noqa: F401


def _end_with(sentinel: Any) -> None:
    connection.wait([sentinel])
    os._exit(1)


def execute(flow_run_id: str) -> int:
    """Run a flow run of a deployment in this process; a failure of the flow is a state like another.

    Raises
    ------
    RuntimeError
        What the engine could not turn into a state, such as a lost server: told in words, because not every error of
        Prefect survives the way to the worker, whose pool of processes would break.
    """
    from prefect.exceptions import Abort
    from prefect.flow_engine import load_flow_and_flow_run, run_flow

    try:
        flow_run, flow = load_flow_and_flow_run(UUID(flow_run_id))
        with suppress(Abort):  # somebody else has it, or it was cancelled
            run_flow(flow, flow_run=flow_run, return_type="state")
    except Exception as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from None
    return 0


class WarmWorker(BaseWorker[BaseJobConfiguration, BaseVariables, WarmResult]):
    """Takes runs from one work pool into processes that stay."""

    type = WORKER_TYPE
    job_configuration = BaseJobConfiguration
    job_configuration_variables = BaseVariables
    _description = "Executes flow runs in processes that keep their imports, weights and libraries."

    def __init__(self, work_pool_name: str, *, slots: int = 1, **options: Any) -> None:
        super().__init__(work_pool_name=work_pool_name, limit=slots, create_pool_if_not_found=False, **options)
        self._slots = [Slot() for _ in range(slots)]
        self._free = list(self._slots)
        self._sign = cache_folder() / "workers" / f"{self.name}.json"

    async def run(
        self,
        flow_run: FlowRun,
        configuration: BaseJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> WarmResult:
        """Run a flow run in a free slot; Prefect's limiter sees to it that there is one."""
        slot, cancelled = self._free.pop(), anyio.Event()
        identifier = f"{socket.gethostname()}:{os.getpid()}"
        try:
            if task_status is not None:
                task_status.started(identifier)  # type: ignore[arg-type]
            async with anyio.create_task_group() as group:
                group.start_soon(self._end_if_cancelled, flow_run.id, slot, cancelled)
                status = await anyio.to_thread.run_sync(slot.run, str(flow_run.id), abandon_on_cancel=True)
                group.cancel_scope.cancel()
        finally:
            self._free.append(slot)
            if self._runs_task_group is not None:
                self._runs_task_group.start_soon(self._look_again)
        if cancelled.is_set():
            await self._confirm_cancellation(flow_run.id)
            status = 0  # else it would be reported as crashed, and begin again
        return WarmResult(status_code=status, identifier=identifier)

    async def _look_again(self) -> None:
        """Ask for the next run now that a slot is free: until the next poll it would stay so."""
        await anyio.sleep(SETTLED)
        with suppress(Exception):  # the next poll tells of it
            await self.get_and_submit_flow_runs()

    async def _end_if_cancelled(self, id: UUID, slot: Slot, cancelled: anyio.Event) -> None:
        """End the process of a run once somebody cancels that; a server that does not answer is asked again."""
        while not cancelled.is_set():
            await anyio.sleep(CANCELLATION_POLL)
            with suppress(Exception):
                state = (await self.client.read_flow_run(id)).state
                if state is not None and (state.is_cancelling() or state.is_cancelled()):
                    cancelled.set()
                    slot.stop()

    async def _confirm_cancellation(self, id: UUID) -> None:
        """Say that a run has ended; where the server cannot be told, it concludes so itself after some minutes."""
        try:
            state = (await self.client.read_flow_run(id)).state
            if state is not None and state.is_cancelling():
                await self.client.set_flow_run_state(id, Cancelled(message=CANCELLED), force=True)
            logger.info("run %s was cancelled", id)
        except Exception as error:
            logger.warning("the server was not told that run %s is cancelled: %s", id, error)

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Poll the server, and leave a sign of life that a health check can look at."""
        taken = await super().get_and_submit_flow_runs()
        self._leave_sign()
        return taken

    async def setup(self) -> None:
        """Start the processes while the worker introduces itself."""
        for slot in self._slots:
            threading.Thread(target=slot.warm, daemon=True).start()
        await super().setup()

    async def teardown(self, *exc_info: Any) -> None:
        """End the processes: what they run is begun again elsewhere."""
        for slot in self._slots:
            slot.stop()
        self._sign.unlink(missing_ok=True)
        await super().teardown(*exc_info)

    def _leave_sign(self) -> None:
        sign = {
            "pid": os.getpid(),
            "pool": self._work_pool_name,
            "queues": sorted(self._work_queues),
            "at": time.time(),
        }
        with suppress(OSError):
            self._sign.parent.mkdir(parents=True, exist_ok=True)
            self._sign.write_text(json.dumps(sign), encoding="utf-8")


def serve(pools: Sequence[tuple[str, Sequence[str], int]], name: str) -> None:
    """Work for some pools until interrupted, whatever happens to the server.

    Parameters
    ----------
    pools
        Of each its name, the queues to take from (none: all) and the number of processes.
    name
        Of the worker, as the Prefect UI shows it.
    """

    async def work() -> None:
        async with anyio.create_task_group() as group:
            for pool, queues, slots in pools:
                group.start_soon(_work, pool, list(queues), slots, name)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # processes end in order
    with suppress(KeyboardInterrupt):
        anyio.run(work)


async def _work(pool: str, queues: list[str], slots: int, name: str) -> None:
    failures = 0
    while True:
        started = time.monotonic()
        try:
            worker = WarmWorker(pool, slots=slots, name=f"{name}-{pool}", work_queues=queues or None)
            await worker.start(printer=logger.info)
            return
        except Exception as error:
            failures = 0 if time.monotonic() - started > 600 else failures
            delay = RESTART_DELAYS[min(failures, len(RESTART_DELAYS) - 1)]
            failures += 1
            logger.warning("worker of %s: %s: %s; again in %.0f s", pool, type(error).__name__, error, delay)
            await anyio.sleep(delay)
