"""``automat potentials`` and ``automat references``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import small_mattersim
import web_site
from typer.testing import CliRunner, Result

from flows.cli import app

Automat = Callable[..., Result]


@pytest.fixture
def automat(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> Automat:
    """Run the command in this process, on a machine without MatterSim's weights."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("AUTOMAT_MATTERSIM_CHECKPOINT", raising=False)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_mattersim.save(tmp_path_factory.mktemp("weights") / "small.pth")


@pytest.fixture
def site(checkpoint: Path) -> Iterator[web_site.Site]:
    with web_site.running() as site:
        site.content = checkpoint.read_bytes()
        yield site


def one_line(result: Result) -> str:
    (line,) = result.stderr.strip().splitlines()
    assert result.exit_code == 1
    return str(line)


def test_the_list_says_what_is_here_and_how_to_get_the_rest(automat: Automat) -> None:
    result = automat("potentials", "list")
    assert result.exit_code == 0
    for told in ("sevennet-0", "7052cb42", "PBE", "89", "not here", "automat potentials fetch mattersim-v1.0.0-5m"):
        assert told in result.stdout
    documents = {each["wanted"]: each for each in json.loads(automat("potentials", "list", "--json").stdout)}
    assert documents["sevennet-0"]["here"]
    assert len(documents["sevennet-0"]["sha256"]) == 64
    assert not documents["mattersim-v1.0.0-1m"]["here"]


def test_fetch_prints_the_file_and_the_potential_can_be_used(automat: Automat, site: web_site.Site) -> None:
    result = automat("potentials", "fetch", site.url("tuned.pth"), "--trust")
    assert result.exit_code == 0
    path = Path(result.stdout.strip())
    assert path.read_bytes() == site.content
    assert result.stderr == ""
    listed = json.loads(automat("potentials", "list", "--json").stdout)[-1]
    assert (listed["wanted"], listed["name"], listed["scale"]) == (site.url("tuned.pth"), "mattersim:tuned", "unknown")

    used = automat("references", "build", "--potential", site.url("tuned.pth"), "--elements", "Al", "--json")
    assert json.loads(used.stdout)["found"].keys() == {"Al"}


def test_a_failed_fetch_is_one_line(automat: Automat, site: web_site.Site) -> None:
    site.script = [site.say(404)]
    assert "404" in one_line(automat("potentials", "fetch", site.url(), "--trust"))
    assert "--sha256" in one_line(automat("potentials", "fetch", site.url()))
    assert "unknown potential" in one_line(automat("potentials", "fetch", "mace"))


def test_references_are_built_once(automat: Automat, checkpoint: Path, cache: Path, tmp_path: Path) -> None:
    build = ("references", "build", "--potential", checkpoint, "--elements", "Al,Po,Yb")
    result = automat(*build)
    assert result.exit_code == 0
    assert "mattersim:small" in result.stdout
    assert "Po: none; mattersim:small was not trained on it" in result.stdout
    assert "Yb: none; matcalc" in result.stdout
    (file,) = cache.rglob("Al.json")
    written = file.stat().st_mtime_ns

    result = automat(*build, "--out", tmp_path / "out")
    path = Path(result.stdout.splitlines()[-1])
    assert json.loads(path.read_text())["references"].keys() == {"Al"}
    assert file.stat().st_mtime_ns == written

    told = json.loads(automat(*build, "--json").stdout)
    assert (told["potential"], told["scale"], told["precision"]) == ("mattersim:small", "unknown", "float32")
    assert told["missing"].keys() == {"Po", "Yb"}


def test_shipped_references_are_not_made_again(automat: Automat, cache: Path) -> None:
    result = automat("references", "build", "--potential", "sevennet-l3i5")
    assert "88 references" in result.stdout
    assert not cache.exists()


def test_wrong_elements_are_wrong_usage(automat: Automat) -> None:
    result = automat("references", "build", "--elements", "Xx")
    assert result.exit_code == 2
    assert "Xx" in result.stderr
    assert "mace" in one_line(automat("references", "build", "--potential", "mace"))
