from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from models.denoising import DenoiseOptions
from models.relaxation import RelaxOptions
from reconstruction.retrieval import RetrievalOptions
from tasks import calls, steps
from tasks.caching import LibraryRef, PotentialRef
from tasks.store import Ref, StoreError, load

RECORD = Ref("Micrograph", "0" * 64, seconds=1.5)


@pytest.mark.parametrize(
    ("step", "arguments"),
    [
        (steps.denoise, (RECORD, DenoiseOptions(), "digest")),
        (steps.retrieve, (RECORD, LibraryRef(("/a library",), "digest"), RetrievalOptions(exclude=("MoS2",)), None)),
        (steps.retrieve, (RECORD, LibraryRef((), "digest"), RetrievalOptions(), RECORD)),
        (steps.relax, (RECORD, PotentialRef(None, "name", "digest"), RelaxOptions())),
    ],
)
def test_a_call_comes_back_with_its_arguments(step, arguments, cache: Path) -> None:
    call = load(calls.keep(step, arguments))
    assert (call.step, call.arguments) == (step.name, arguments)


def test_the_time_an_argument_took_makes_no_other_call(cache: Path) -> None:
    first, second = (calls.keep(steps.denoise, (replace(RECORD, seconds=t), DenoiseOptions(), "d")) for t in (1.0, 2.0))
    assert first == second


def test_a_call_of_another_store_is_said_to_be_missing(cache: Path) -> None:
    with pytest.raises(StoreError, match="gone"):
        calls.run("1" * 64)
