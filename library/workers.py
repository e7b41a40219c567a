"""Work done by several workers at once: processes of this machine, or whatever else an ``Executor`` stands for.

What comes out depends neither on who does the work nor on how many they are, and no dead worker costs more than the
pieces it had.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from microscopy.errors import LibraryError

AHEAD = 4
"""Pieces handed out for each worker: enough that none waits, few enough to be held in memory."""

TRIES = 3
"""Times that a piece is begun before it is blamed for the death of those who had it."""

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Workers:
    """Who does the work.

    Attributes
    ----------
    count
        How many pieces are worked on at once.
    start
        Gives an executor for the time of a context; called again when all workers of one were lost.
    """

    count: int
    start: Callable[[], AbstractContextManager[Executor]]


class _Here(Executor):
    """Does the work when it is handed out, in this process."""

    def submit(self, fn: Callable[..., ResultT], /, *args: Any, **kwargs: Any) -> Future[ResultT]:
        future: Future[ResultT] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


HERE = Workers(1, _Here)
"""This process itself."""


def processes(count: int) -> Workers:
    """Processes of this machine; one is this process itself."""
    if count == 1:
        return HERE
    context = multiprocessing.get_context("spawn")
    return Workers(count, partial(ProcessPoolExecutor, count, context, initializer=_end_with_parent))


def completed(
    workers: Workers, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
) -> Generator[tuple[int, ResultT], None, None]:
    """Apply a function to every item; yield the place of each item and its result, as soon as there is one.

    Parameters
    ----------
    workers
        Who does it. Items, results and the function travel to them and back.
    function
        Gives the same result whoever calls it, and however often.
    items
        Read only as far as there are workers: `AHEAD` for each.

    Raises
    ------
    LibraryError
        If an item was begun `TRIES` times, and a worker died each time.
    """
    left = enumerate(items)
    most = 1 if workers is HERE else AHEAD * workers.count
    under_way: dict[int, ItemT] = {}
    deaths: Counter[int] = Counter()
    while True:
        running: dict[Future[ResultT], int] = {}
        try:
            with workers.start() as executor:
                try:
                    running |= {executor.submit(function, item): place for place, item in under_way.items()}
                    while True:
                        for place, item in itertools.islice(left, most - len(under_way)):
                            under_way[place] = item
                            running[executor.submit(function, item)] = place
                        if not running:
                            return
                        for future in wait(running, return_when=FIRST_COMPLETED).done:
                            place = running.pop(future)
                            result = future.result()
                            del under_way[place]
                            yield place, result
                finally:  # stopped: nobody waits for what is not begun yet
                    for future in running:
                        future.cancel()
        except BrokenExecutor as error:
            deaths.update(under_way.keys())
            if max(deaths.values()) >= TRIES:
                raise LibraryError(
                    f"a worker process died {TRIES} times over the same structures, perhaps for lack of memory; "
                    "run again with fewer workers: what is finished is kept"
                ) from error


def _end_with_parent() -> None:
    """End this worker when the process that started it is killed: nobody else would."""

    def follow() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
