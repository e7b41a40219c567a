"""The table of workers and the page on sizing: what is measured is measured once, and arithmetic is right."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.materials import BenchmarkError
from benchmarks.scaling import sizing, teams
from benchmarks.scaling.__main__ import main
from benchmarks.scaling.product import size
from benchmarks.scaling.teams import Job
from benchmarks.scaling.usage import Usage, processes, used_by
from library.sources import Entry, read_source

PAGE = Path(__file__).parents[2] / "docs" / "sizing.md"

BUSY = "import time\nwhile time.process_time() < 0.3: pass"
TWICE = f"{BUSY}\nwhile time.process_time() < 0.6: pass"
NESTED = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}], check=True); bytes(50 << 20)"
SIDE_BY_SIDE = (
    "import subprocess, sys;"
    f"a, b = (subprocess.Popen([sys.executable, '-c', each]) for each in ({BUSY!r}, {TWICE!r})); a.wait(); b.wait()"
)


def test_a_command_is_charged_for_what_it_starts(tmp_path: Path) -> None:
    usage = used_by([sys.executable, "-c", NESTED], os.environ, tmp_path / "log")
    assert 0.3 <= usage.cpu_s < 30
    assert usage.wall_s >= 0.3
    assert usage.peak_mib > 50


def test_the_longest_path_is_that_of_the_busiest_process(tmp_path: Path) -> None:
    usage = used_by([sys.executable, "-c", SIDE_BY_SIDE], os.environ, tmp_path / "log")
    assert usage.cpu_s >= 0.9
    assert 0.4 <= usage.path_s <= usage.cpu_s - 0.2


def test_a_command_that_fails_is_said_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="code 3"):
        used_by([sys.executable, "-c", "import sys; sys.exit('no' * 0 or 3)"], os.environ, tmp_path / "log")
    assert (tmp_path / "log").exists()


def test_what_a_running_process_used_and_what_files_take(tmp_path: Path) -> None:
    assert processes(os.getpid())[os.getpid()] == pytest.approx(time.process_time(), rel=0.1, abs=0.1)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(bytes(7))
    assert size(tmp_path) == size(tmp_path / "folder" / "file") == 7


JOB = Job("work", ("do",))


def test_runs_are_in_turn_and_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def pretend(command: Any, environment: Any, log: Any) -> Usage:
        options = dict(zip(command[-6::2], command[-5::2], strict=True))
        ran.append([options["--runner"], options["--workers"]])
        assert environment["OMP_NUM_THREADS"] == "1"
        workers = int(options["--workers"])
        return Usage(30.0 / workers**2, 10.0, 10.0 / workers, 100.0)

    monkeypatch.setattr(teams, "used_by", pretend)
    found = list(teams.measure([JOB], tmp_path, 2, lambda _: None))
    turn = [["process", "1"], ["process", "2"], ["dask", "1"], ["dask", "2"]]
    assert ran == [turn[0], *turn, *turn]  # the first warms up and is not told
    assert len(found) == 8
    assert list(teams.measure([JOB], tmp_path, 2, lambda _: None)) == found
    assert len(ran) == 9
    rows = teams.table(found).cells
    assert [row[5:7] for row in rows] == [("1.00", "100%"), ("2.00", "100%")] * 2
    assert [row[8:10] for row in rows] == [("0.33", "1.00"), ("1.33", "4.00")] * 2
    assert {len(row) for row in rows} == {len(teams.table(found).columns)}


def test_structures_are_what_a_build_reads(tmp_path: Path) -> None:
    source = teams.structures(tmp_path / "some.db", 5)
    assert sum(isinstance(item, Entry) for item in read_source(source)) == 5
    before = source.stat().st_mtime_ns
    teams.structures(source, 5)
    assert source.stat().st_mtime_ns == before


@pytest.fixture
def measured() -> dict[str, Any]:
    line = {"cpu_s": 8.5, "wall_s": 8.0, "peak_mib": 1024.0, "result_bytes": 2**20, "cache_bytes": 2**21}
    stages = {"denoise": 2.0, "retrieve": 1.0, "relax": 4.0, "reconstruct": 1.0}
    lines = [{**line, "told": told, "stages": stages} for told in (sizing.KNOWN, sizing.UNKNOWN)]
    return {
        "lines": lines,
        "peak_mib": 1024.0,
        "idle": 0.01,
        "server_cpu_s": 3.0,
        "server_bytes": 3 * 2**20,
        "flow_runs": 3,
        "task_runs": 30,
    }


def test_sizes_follow_from_what_was_measured(measured: dict[str, Any]) -> None:
    line = measured["lines"][0]
    assert sizing.stage_seconds(line, ("relax", "absent")) == 4.0
    assert sizing.stages(measured).cells[-1][1:] == ("0.50", "0.50")  # of no stage
    assert sizing.workers(60, 7) == 10  # 7 cores busy, at 70 %
    table = sizing.needs(measured)
    rows = {row[0]: row[1:] for row in table.cells}
    assert rows["flow workers, everything in them"] == ("3", "21", "203")
    assert rows["task runs a minute"] == ("100", "1,000", "10,000")
    assert rows["cores for Prefect's server"] == ("0.18", "1.68", "16.68")
    assert rows["results, GiB a day"] == ("14.1", "140.6", "1,406.2")
    assert {len(row) for row in table.cells} == {len(table.columns)}


def test_a_database_elsewhere_has_no_size(measured: dict[str, Any]) -> None:
    measured["server_bytes"] = None
    for table in (sizing.costs(measured), sizing.needs(measured)):
        assert next(row for row in table.cells if "database" in row[0])[1] == "–"


def test_the_page_has_a_place_for_every_table() -> None:
    text = PAGE.read_text()
    for title in (teams.TITLE, sizing.COSTS, sizing.STAGES, sizing.NEEDS):
        assert f"<!-- scaling: {title} -->" in text


@pytest.mark.slow
def test_everything_is_measured_and_put_into_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    titles = (teams.TITLE, sizing.COSTS, sizing.STAGES, sizing.NEEDS)
    page.write_text("\n".join(f"<!-- scaling: {title} -->\n<!-- end -->" for title in titles))
    options = ["--repeats", "1", "--materials", "1", "--entries", "300"]
    assert main(["--out", str(tmp_path / "out"), "--document", str(page), *options]) == 0
    text = page.read_text()
    assert text.count("| dask | 2 |") == 2
    assert "| relax |" in text
    assert "1,000 a minute" in text
    assert "What a micrograph costs" in capsys.readouterr().out
