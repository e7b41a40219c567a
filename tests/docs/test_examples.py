"""Examples and the runnable blocks of pages, run as a reader would: in an empty folder, one process each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pages
import pytest
from pymatgen.core import Structure

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


def example(name: str, folder: Path, *arguments: str) -> str:
    return run(sys.executable, EXAMPLES / f"{name}.py", *arguments, folder=folder)


def test_examples_are_short() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py") if len(path.read_text().splitlines()) > 40} == set()


def test_the_lattice_of_the_demo_is_measured(folder: Path) -> None:
    told = example("lattice", folder)
    assert "0.1100 Å per pixel" in told
    assert "a = 3.81" in told


def test_the_true_template_is_ranked_first(folder: Path) -> None:
    assert example("search", folder).splitlines()[1].split()[1] == "SnSe2"


def test_the_cif_holds_the_demo_crystal(folder: Path) -> None:
    assert "accepted" in example("to_cif", folder)
    assert Structure.from_file(folder / "structure.cif").composition.reduced_formula == "SnSe2"


@pytest.mark.slow
def test_an_image_is_simulated_with_its_truth(folder: Path) -> None:
    images = example("simulate", folder).split()
    assert images == ["simulated.tif", "simulated.truth.json"]
    assert all((folder / name).stat().st_size for name in images)
    assert "Å per pixel" in example("lattice", folder, "simulated.tif")


@pytest.mark.parametrize("page", FAST, ids=pages.name)
def test_the_fast_blocks_of_a_page_run(page: Path, folder: Path) -> None:
    script = "\n".join(text for text, slow in pages.runnable(page) if not slow)
    run("bash", "-euo", "pipefail", "-c", script, folder=folder)


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(set(RUNNABLE)), ids=pages.name)
def test_all_blocks_of_a_page_run(page: Path, folder: Path) -> None:
    run("bash", "-euo", "pipefail", "-c", "\n".join(text for text, _ in pages.runnable(page)), folder=folder)


def test_the_notebook_runs_and_gives_what_it_shows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its code cells one after another; that nbclient made the outputs is not needed to run them."""
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    source = "\n".join("".join(cell["source"]) for cell in cells)
    told = run(sys.executable, "-c", source, folder=folder)
    shown = "".join("".join(o["text"]) for cell in cells for o in cell["outputs"] if o["output_type"] == "stream")
    assert told.split() == shown.split()
