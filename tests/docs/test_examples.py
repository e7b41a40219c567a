"""Examples and the runnable blocks of pages, run as a reader would: in an empty folder, one process each."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ase.io
import pages
import pytest

EXAMPLES = pages.ROOT / "examples"
NOTEBOOK = EXAMPLES / "reconstruct.ipynb"
RUNNABLE = [page for page in pages.PAGES if pages.runnable(page)]
FAST = [page for page in RUNNABLE if not all(slow for _, slow in pages.runnable(page))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder with the files that pages take from the repository."""
    (tmp_path / "microscopy").symlink_to(pages.ROOT / "microscopy")
    return tmp_path


def environment() -> dict[str, str]:
    programs = Path(sys.executable).parent
    return {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(pages.ROOT)}


def run(*command: str | Path, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def example(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run an example in this process, in the empty folder; gives what it prints."""

    def running(name: str, *arguments: str) -> str:
        path = str(EXAMPLES / f"{name}.py")
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", [path, *arguments])
        runpy.run_path(path, run_name="__main__")
        return capsys.readouterr().out

    return running


def test_examples_are_short() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py") if len(path.read_text().splitlines()) > 40} == set()


def test_the_lattice_of_the_demo_is_measured(example: Callable[..., str]) -> None:
    told = example("lattice")
    assert "0.1100 Å per pixel" in told
    assert "a = 3.81" in told


def test_the_true_template_is_ranked_first(example: Callable[..., str]) -> None:
    assert example("search").splitlines()[1].split()[1] == "SnSe2"


def test_the_cif_holds_the_demo_crystal(example: Callable[..., str], folder: Path) -> None:
    assert "accepted" in example("to_cif")
    assert ase.io.read(folder / "structure.cif").get_chemical_formula() == "Se2Sn"


@pytest.mark.slow
def test_an_image_is_simulated_with_its_truth(example: Callable[..., str], folder: Path) -> None:
    images = example("simulate").split()
    assert images == ["simulated.tif", "simulated.truth.json"]
    assert all((folder / name).stat().st_size for name in images)
    assert "Å per pixel" in example("lattice", "simulated.tif")


@pytest.mark.parametrize("page", FAST, ids=pages.name)
def test_the_fast_blocks_of_a_page_run(page: Path, folder: Path) -> None:
    script = "\n".join(text for text, slow in pages.runnable(page) if not slow)
    run("bash", "-euo", "pipefail", "-c", script, folder=folder)


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNABLE, ids=pages.name)
def test_all_blocks_of_a_page_run(page: Path, folder: Path) -> None:
    run("bash", "-euo", "pipefail", "-c", "\n".join(text for text, _ in pages.runnable(page)), folder=folder)


@pytest.mark.slow
def test_the_notebook_runs_and_gives_what_it_shows(folder: Path) -> None:
    """Its code cells one after another; that nbclient made the outputs is not needed to run them."""
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    source = "\n".join("".join(cell["source"]) for cell in cells)
    told = run(sys.executable, "-c", source, folder=folder)
    shown = "".join("".join(o["text"]) for cell in cells for o in cell["outputs"] if o["output_type"] == "stream")
    assert told.split() == shown.split()
