"""``automat library generate``."""

import json

import pytest
import typer
from typer.testing import CliRunner

from flows.commands import prototypes
from library import generate as module
from library.prototype_files import PROTOTYPES
from library.work_file import Generated

app = typer.Typer()
app.command()(prototypes.generate)
run = CliRunner()


@pytest.fixture
def unrelaxed(monkeypatch):
    """Keep every start as it is: what relaxes is tested elsewhere."""

    def keep(decoration, start, key, potential, limits):
        return Generated(decoration.id, decoration.prototype.name, key, "", start, -1.0, 0)

    monkeypatch.setattr(module, "relax_decoration", keep)


def generate(*arguments) -> object:
    return run.invoke(app, [str(argument) for argument in arguments])


def test_a_prototype_file_becomes_a_library(tmp_path, unrelaxed):
    answer = generate(
        "--prototype", PROTOTYPES / "SnS.toml", "--elements", "Sn,Se,S", "--out", tmp_path / "o", "--json"
    )
    assert answer.exit_code == 0
    manifest = json.loads(answer.stdout)
    assert manifest["count"] == 2
    assert manifest["parameters"]["elements"] == ["S", "Se", "Sn"]
    assert manifest["parameters"]["potential"] == "sevennet-0"
    assert (tmp_path / "o.work.jsonl").exists()


def test_a_mistake_is_one_line(tmp_path, unrelaxed):
    broken = tmp_path / "broken.toml"
    broken.write_text('name = "x"\n')
    for arguments, code, says in (
        (("--prototype", broken), 1, "broken.toml: title: is missing"),
        (("--prototype", tmp_path / "absent"), 1, "absent: cannot be read"),
        (("--elements", "Xx"), 2, "Xx is no element"),
        (("--elements", "He"), 1, "allow no decoration of He alone"),
        (("--potential", "nonsense", "--elements", "C"), 1, "unknown potential"),
    ):
        answer = generate(*arguments, "--out", tmp_path / "out")
        assert answer.exit_code == code
        assert says in answer.stderr
        assert len(answer.stderr.splitlines()) == 1
        assert not (tmp_path / "out").exists()
