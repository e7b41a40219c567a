"""Work is done in any order by anybody, and nothing is lost or held back."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import jobs
import pytest

from library.workers import AHEAD, HERE, TRIES, Workers, completed, processes
from microscopy.errors import LibraryError


def threads(count: int) -> Workers:
    return Workers(count, partial(ThreadPoolExecutor, count))


@pytest.mark.parametrize("workers", [HERE, threads(2), threads(5)], ids=["here", "two", "five"])
def test_every_item_has_its_result(workers):
    assert dict(completed(workers, jobs.square, range(40))) == {n: n**2 for n in range(40)}
    assert list(completed(workers, jobs.square, [])) == []


@pytest.mark.parametrize(("workers", "most"), [(HERE, 1), (threads(3), 3 * AHEAD)], ids=["here", "three"])
def test_items_are_read_only_as_far_as_there_are_workers(workers, most):
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        for number in range(100):
            read += 1
            yield number

    finished = 0
    for _ in completed(workers, jobs.square, items()):
        assert read - finished <= most
        finished += 1
    assert finished == 100


def test_what_is_stopped_waits_for_nothing_that_is_not_begun():
    begun = []
    with closing(completed(threads(2), begun.append, range(1000))) as results:
        next(results)
    assert len(begun) <= 2 * AHEAD + 1


@pytest.mark.parametrize("workers", [HERE, threads(2)], ids=["here", "two"])
def test_a_mistake_is_not_tried_again(workers):
    with pytest.raises(ValueError, match="cannot do"):
        list(completed(workers, jobs.fail, range(9)))


def test_what_a_killed_worker_had_is_done_by_another(tmp_path):
    results = dict(completed(processes(2), partial(jobs.die_once, traces=tmp_path), range(20)))
    assert (tmp_path / "died").exists()
    assert results == {n: n**2 for n in range(20)}


def test_what_kills_every_worker_is_given_up(tmp_path):
    with pytest.raises(LibraryError, match="with fewer workers"):
        list(completed(processes(2), partial(jobs.die, traces=tmp_path), range(20)))
    assert len(list(tmp_path.glob("death-*"))) == TRIES
