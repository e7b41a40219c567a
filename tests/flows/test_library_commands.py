"""``automat library`` on small libraries, in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from library_folders import entries, write_library
from monolayers import MONOLAYERS
from pymatgen.io.cif import CifWriter
from typer.testing import CliRunner, Result

from flows.cli import app
from library.records import Template
from library.store import Library

DEMO = Path(__file__).parents[2] / "microscopy" / "data" / "demo.tif"


def automat(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["library", *(str(argument) for argument in arguments)])


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "cifs"
    folder.mkdir()
    for entry in entries(3):
        CifWriter(entry.structure).write_file(folder / f"{entry.id}.cif")
    return folder


@pytest.fixture
def built(tmp_path: Path, sources: Path) -> Path:
    result = automat("build", sources, "--out", tmp_path / "lib")
    assert result.exit_code == 0, result.stderr
    assert "3" in result.stdout
    return tmp_path / "lib"


def answer(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_build_info_and_verify_agree(built: Path) -> None:
    info = answer(automat("info", built, "--json"))
    verified = answer(automat("verify", built, "--json"))
    assert info["count"] == verified["count"] == 3
    assert info["digest"] == verified["digest"] == Library.open(built).digest
    assert "3 templates" in automat("verify", built).stdout


def test_add_says_what_was_added(built: Path, tmp_path: Path) -> None:
    new = tmp_path / "more.cif"
    CifWriter(entries(1, 12)[0].structure).write_file(new)
    found = automat("add", new, "--library", built)
    assert found.exit_code == 0
    assert "1 added, 0 there already" in found.stdout
    again = answer(automat("add", new, "--library", built, "--json"))
    assert (again["added"], again["merged"]) == (0, 1)
    assert "1 added" in automat("info", built).stdout


def test_a_damaged_library_fails_verification_in_one_line(built: Path) -> None:
    file = next(built.glob("templates-*"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    result = automat("verify", built)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "altered" in result.stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("add", "{cifs}", "--library", "{cifs}"), "not a template library"),
        (("build", "{cifs}", "--out", "{cifs}"), "choose another"),
        (("build", "absent", "--out", "new"), "no such file"),
        (("verify", "{cifs}"), "not a template library"),
    ],
)
def test_what_cannot_be_done_is_one_line(command, message, sources, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = automat(*(each.format(cifs=sources) for each in command))
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert not (sources / ".lock").exists()


@pytest.mark.parametrize(
    ("query", "formulas"),
    [
        ("BN", ["BN"]),
        ("N2B2", ["BN"]),
        ("Mo,S", ["MoS2"]),
        ("AB2", ["MoS2"]),
        ("graphene", ["C"]),
        ("alias", ["C"]),
        ("WS2", []),
    ],
)
def test_search_by_what_it_is_made_of(query, formulas, tmp_path) -> None:
    structures = {name: MONOLAYERS[name][0] for name in ("graphene", "h-BN", "MoS2 1H")}
    templates = [Template(name, s, s.composition.reduced_formula, "test") for name, s in structures.items()]
    write_library(tmp_path / "lib", templates, aliases=[(0, "alias")])
    found = answer(automat("search", query, "--library", tmp_path / "lib", "--json"))
    assert [each["formula"] for each in found["templates"]] == formulas
    assert found["total"] == len(formulas)
    shown = automat("search", query, "--library", tmp_path / "lib").stdout
    assert all(formula in shown for formula in formulas)
    assert ("no template" in shown) == (not formulas)


def test_search_for_what_is_no_formula_is_one_line() -> None:
    result = automat("search", "no formula")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1


def test_search_by_image_gives_probabilities() -> None:
    found = answer(automat("search", DEMO, "--formula", "SnSe2", "--json"))
    truth = json.loads(DEMO.with_suffix(".json").read_text())
    assert found["templates"][0]["formula"] == "SnSe2", truth
    assert 0 < sum(each["probability"] for each in found["templates"]) <= 1 + 1e-9
    assert found["templates"][0]["probability"] == max(each["probability"] for each in found["templates"])
