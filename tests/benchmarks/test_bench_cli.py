"""``automat bench`` as someone types it."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from benchmarks.cli import app
from benchmarks.suites import SUITES


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_is_found_by_the_command_line() -> None:
    found = {each.name: each.value for each in entry_points(group="automat.commands")}
    assert found == {"bench": "benchmarks.cli:app"}


def test_suites_are_listed() -> None:
    result = bench("list")
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(SUITES)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["run", "nonsense", "--out", "x"], 1, "quick"),
        (["run", "quick", "--out", "x", "--runner", "ray"], 2, "dask"),
        (["run", "quick", "--out", "x", "--ids", "none.txt"], 2, "none.txt"),
        (["report", "nowhere"], 1, "automat bench run"),
        (["export", "nowhere", "--layout", "other"], 2, "stem2crystal"),
        (["export", "nowhere"], 1, "automat bench run"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: list[str], code: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = bench(*arguments)
    assert result.exit_code == code
    lines: list[Any] = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert told in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_prefect_is_not_imported_before_it_is_configured() -> None:
    check = "import sys, benchmarks.cli, benchmarks.commands; assert 'prefect' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
