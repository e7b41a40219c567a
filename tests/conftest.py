"""One private home for everything that the project and Prefect keep on disk, set before either is imported."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_HOME = tempfile.TemporaryDirectory(prefix="automat-tests-", ignore_cleanup_errors=True)

for _name in [name for name in os.environ if name.startswith(("PREFECT_", "AUTOMAT_LLM_"))]:
    del os.environ[_name]
os.environ |= {
    "AUTOMAT_CACHE": str(Path(_HOME.name) / "cache"),
    "PREFECT_HOME": str(Path(_HOME.name) / "prefect"),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "DO_NOT_TRACK": "1",
    "MPLBACKEND": "Agg",
}
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # one test is one thread: results and times do not depend on the machine


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(autouse=True)
def _prefect(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("prefect"):
        request.getfixturevalue("prefect_server")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("AUTOMAT_CACHE", str(folder))
    return folder
