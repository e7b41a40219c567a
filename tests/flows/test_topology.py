from __future__ import annotations

import pytest

from flows.topology import POOLS, ROLES, STEPS, places


def test_a_worker_of_the_gpu_takes_both_of_its_queues() -> None:
    assert places(["gpu"]) == places(["denoise", "relax"]) == {"automat-gpu": ("denoise", "relax")}
    assert places(["relax"]) == {"automat-gpu": ("relax",)}


def test_a_pool_without_queues_is_taken_from_whole() -> None:
    assert places(["flow", "library"]) == {"automat-flow": (), "automat-library": ()}


def test_every_place_is_in_a_pool_that_exists_and_every_pool_has_a_worker() -> None:
    pools = {pool.name: pool for pool in POOLS}
    for place in [*STEPS.values(), *(place for role in ROLES.values() for place in role)]:
        assert place.queue is None or place.queue in pools[place.pool].queues
    assert {pool for role in ROLES for pool in places([role])} == set(pools)


def test_an_unknown_role_is_an_error() -> None:
    with pytest.raises(KeyError):
        places(["flow", "cook"])
