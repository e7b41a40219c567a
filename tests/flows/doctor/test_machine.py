from __future__ import annotations

from pathlib import Path

import pytest

from flows.doctor.machine import memory, processors

KIB_PER_GIB = 1024**2


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    path = tmp_path / "meminfo"
    path.write_text(f"MemTotal: {16 * KIB_PER_GIB} kB\nMemFree: 1 kB\nMemAvailable: {8 * KIB_PER_GIB} kB\n")
    return path


def container(folder: Path, limit: float | str, used: float) -> Path:
    (folder / "memory.max").write_text(limit if isinstance(limit, str) else str(int(limit * 2**30)))
    (folder / "memory.current").write_text(str(int(used * 2**30)))
    return folder


def test_memory_of_this_machine() -> None:
    assert "GiB free" in memory().text


@pytest.mark.parametrize(
    ("limit", "used", "state", "text"),
    [
        ("max\n", 0.1, "ok", "8.0 of 16.0"),
        (64, 1, "ok", "8.0 of 16.0"),
        (6, 1, "ok", "5.0 of 6.0"),
        (6, 5, "warning", "1.0 of 6.0"),
        (0.5, 0.2, "broken", "0.3 of 0.5"),
    ],
)
def test_a_container_may_have_less_than_its_machine(
    limit: float | str, used: float, state: str, text: str, meminfo: Path, tmp_path: Path
) -> None:
    found = memory(meminfo, container(tmp_path, limit, used))
    assert found.state == state
    assert text in found.text


@pytest.mark.parametrize(
    ("given", "state"), [("", "ok"), ("1", "ok"), ("4", "ok"), ("64", "warning"), ("many", "broken"), ("0", "broken")]
)
def test_threads_fit_the_processors(given: str, state: str) -> None:
    assert processors({"OMP_NUM_THREADS": given}, usable=4).state == state
