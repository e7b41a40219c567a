from __future__ import annotations

import os
import signal

import psutil
import pytest
from faults.lab import until

from flows.worker import Slot

pytestmark = pytest.mark.slow


def test_a_process_that_died_while_it_had_nothing_to_do_costs_no_run() -> None:
    slot = Slot()
    try:
        first = slot._submit(os.getpid).result()
        executor = slot._process()
        os.kill(first, signal.SIGKILL)
        until(lambda: not psutil.pid_exists(first) and executor._broken, "the death is noticed")
        assert slot._submit(os.getpid).result() != first
    finally:
        slot.stop()
