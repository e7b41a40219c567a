from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_run
import numpy as np
import pytest
from canned import Science, judged
from typer.testing import CliRunner, Result

from flows import private_server
from flows.cli import app
from microscopy.errors import DenoiseError
from planning.records import Status


@pytest.fixture
def automat(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run the command in this process, against the tests' Prefect server, in an empty folder."""

    @contextmanager
    def running(*_: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(wait=lambda: None)

    monkeypatch.setattr(private_server, "orchestration", running)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


def one_line(result: Result) -> str:
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return str(lines[0])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--elements", "Mo,Xx"], "Xx"),
        (["--elements", ","], "no element"),
        (["--formula", "MoS2Qq"], "formula"),
        (["--formula", ""], "formula"),
        (["--elements", "W,S", "--formula", "MoS2"], "disagree"),
        (["--pixel-size", "0"], "pixel-size"),
        (["--pixel-size", "0.1,0.1,0.1"], "pixel-size"),
        (["--pixel-size", "nan"], "pixel-size"),
        (["--modality", "sem"], "idpc"),
        (["--planner", "llm"], "no language model is configured: set AUTOMAT_LLM_BASE_URL"),
        (["--planner", "replay:missing.jsonl"], "missing.jsonl"),
        (["--planner", "replay:"], "unknown planner"),
        (["--planner", "dice"], "unknown planner"),
        (["--frame", "-1"], "frame"),
        (["--config", "missing.toml"], "missing.toml"),
        (["--dose", "0"], "dose"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: list[str], told: str, automat: Any, tmp_path: Path) -> None:
    result = automat("reconstruct", "x.npy", *arguments)
    assert result.exit_code == 2
    assert told in one_line(result)
    assert result.stdout == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", ["reed = 1", "[retrieval]\nstrain = 'wide'", "planner = 'dice'", "max_attempts = 99", "[["]
)
def test_a_wrong_configuration_is_wrong_usage(text: str, automat: Any, tmp_path: Path) -> None:
    (tmp_path / "automat.toml").write_text(text)
    result = automat("reconstruct", "x.npy", "--config", "automat.toml")
    assert result.exit_code == 2
    assert "automat.toml" in one_line(result)


@pytest.mark.prefect
def test_the_answer_is_printed_for_a_person(science: Science, image: Path, automat: Any, tmp_path: Path) -> None:
    result = automat("reconstruct", image, "--out", "out")
    assert result.exit_code == 0
    assert result.stderr == ""
    for told in ("MoS₂", "accepted", "93", "eV/atom", "SevenNet-0 was used", "report.html"):
        assert told in result.stdout
    assert len(list((tmp_path / "out").iterdir())) == 1


@pytest.mark.prefect
def test_options_reach_the_stages(science: Science, image: Path, automat: Any, tmp_path: Path) -> None:
    (tmp_path / "automat.toml").write_text("potential = 'sevennet-l3i5'\n[retrieval]\nstrain = 0.05\nkeep = 4\n")
    result = automat(
        *("reconstruct", image, "--elements", "S,Mo", "--dose", 1e4, "--exclude", "WS2", "--exclude", "2dm-1"),
        *("--config", "automat.toml", "--json"),
    )
    told = json.loads(result.stdout)
    assert told["image"]["elements"] == ["Mo", "S"]
    assert told["image"]["dose"] == 1e4
    assert science.searches[0].exclude == ("WS2", "2dm-1")
    assert (science.searches[0].strain, science.searches[0].keep) == (0.05, 4)
    assert (tmp_path / "runs").is_dir()


@pytest.mark.prefect
def test_json_is_one_document_per_input_and_a_bad_file_stops_nothing(
    science: Science, image: Path, automat: Any, tmp_path: Path
) -> None:
    bad = tmp_path / "with space µ.tif"
    bad.write_bytes(b"text")
    result = automat("reconstruct", tmp_path / "missing.tif", bad, image, "--json")
    assert result.exit_code == 1
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["status"] for each in told] == ["failed", "failed", "accepted"]
    assert [each["schema"] for each in told] == [1, 1, 1]
    assert [each["error"]["stage"] for each in told[:2]] == ["ingest", "ingest"]
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 2
    assert "missing.tif" in lines[0]
    assert "with space µ.tif" in lines[1]


@pytest.mark.prefect
@pytest.mark.parametrize(
    ("status", "failed", "code"),
    [(Status.AMBIGUOUS, "margin", 0), (Status.REJECTED, "fit", 0)],
)
def test_an_honest_no_is_no_failure(
    status: Status, failed: str, code: int, science: Science, image: Path, automat: Any
) -> None:
    science.judge = lambda _: judged(status, failed)
    result = automat("reconstruct", image, "--planner", "none")
    assert result.exit_code == code
    assert str(status) in result.stdout


@pytest.mark.prefect
def test_a_failure_is_one_line_and_exit_code_1(science: Science, image: Path, automat: Any) -> None:
    science.fail["denoise"] = DenoiseError("the noise cannot be measured")
    result = automat("reconstruct", image)
    assert result.exit_code == 1
    assert "the noise cannot be measured" in one_line(result)
    assert result.stdout == ""


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """As on a full disk: nothing longer than ``size`` bytes can be written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.prefect
def test_a_full_disk_under_the_run_folder_leaves_nothing(
    science: Science, image: Path, automat: Any, tmp_path: Path
) -> None:
    assert automat("reconstruct", image, "--out", "first").exit_code == 0
    with files_at_most(1000):
        result = automat("reconstruct", image, "--out", "second")
    assert result.exit_code == 1
    assert "cannot write" in one_line(result)
    assert not list((tmp_path / "second").rglob("*"))


@pytest.mark.prefect
def test_a_full_disk_under_the_cache_is_told_and_leaves_nothing_partial(
    science: Science, image: Path, automat: Any, cache: Path
) -> None:
    with files_at_most(60_000):  # the record of the image is longer, everything else is shorter
        result = automat("reconstruct", image)
    assert result.exit_code == 1
    assert "AUTOMAT_CACHE" in one_line(result)
    assert not [path for path in cache.rglob("*") if path.suffix in (".npz", ".part")]


def test_inspect_tells_of_every_file(automat: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", fake_run.micrograph().image)
    (tmp_path / "b.tif").write_text("no image")
    result = automat("inspect", "a.npy", "b.tif", "c.dm4")
    assert result.exit_code == 1
    assert "150 × 220" in result.stdout
    assert [name in line for name, line in zip(("b.tif", "c.dm4"), result.stderr.splitlines(), strict=True)]

    documents = [json.loads(line) for line in automat("inspect", "a.npy", "b.tif", "--json").stdout.splitlines()]
    assert documents[0]["signals"][0]["shape"] == [150, 220]
    assert documents[1]["error"]["stage"] == "ingest"


def test_help_starts_without_the_science() -> None:
    code = "import sys, flows.cli; print(sorted({'torch', 'prefect', 'pymatgen', 'numpy', 'scipy'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
    assert told.stderr == ""


def test_version(automat: Any) -> None:
    from importlib.metadata import version

    assert automat("--version").stdout == f"automat {version('automat-stem')}\n"
