"""The whole examination, as a person and as a program see it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from flows import doctor
from flows.cli import app
from flows.doctor import imports
from flows.doctor.finding import Finding, broken, ok, skipped, warning
from flows.doctor.running import Check, Section
from flows.doctor.terminal import show_section, show_summary


@pytest.fixture(autouse=True)
def _no_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying the imports takes seconds and is tested elsewhere."""
    monkeypatch.setattr(imports, "probe", lambda modules: imports.Probed(dict.fromkeys(modules), []))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["doctor", *map(str, arguments)])


def examined(monkeypatch: pytest.MonkeyPatch, *found: Finding) -> None:
    sections = [Section("Things", tuple(Check(each.name, lambda each=each: each) for each in found))]
    monkeypatch.setattr(doctor, "examination", lambda *_: sections)


def test_this_machine_is_well(cache: Path) -> None:
    result = run("--json")
    assert result.exit_code == 0, result.stdout
    (line,) = result.stdout.splitlines()
    told = json.loads(line)
    assert told["healthy"]
    names = [each["name"] for each in told["findings"]]
    assert {"Python", "packages", "Prefect", "denoiser", "library", "potential", "memory", "cache"} <= set(names)
    assert {"section", "name", "state", "text", "remedy"} == set(told["findings"][0])
    (server,) = [each for each in told["findings"] if each["section"] == "Prefect server"]
    assert server["state"] == "skipped"


@pytest.mark.parametrize(
    ("found", "code", "last"),
    [
        ([ok("a", "x"), skipped("b", "y")], 0, "All that was looked at is well."),
        ([ok("a", "x"), warning("b", "y", "z")], 0, "Nothing is broken; 1 warning."),
        ([warning("a", "x", "r"), broken("b", "y", "z")], 1, "1 fault to put right, and 1 warning."),
        ([broken("a", "x", "r"), broken("b", "y", "z")], 1, "2 faults to put right."),
    ],
)
def test_only_what_is_broken_fails(found: list[Finding], code: int, last: str, monkeypatch: pytest.MonkeyPatch) -> None:
    examined(monkeypatch, *found)
    result = run()
    assert result.exit_code == code
    assert result.stdout.splitlines()[-1] == last
    document = json.loads(run("--json").stdout)
    assert document["healthy"] is (code == 0)


def test_a_broken_machine_is_told_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    auth = tmp_path / "auth"
    auth.write_text("admin:hunter22")
    auth.chmod(0o644)
    cache.mkdir()
    cache.chmod(0o777)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING_FILE", str(auth))
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:hunter22")
    monkeypatch.setenv("PREFECT_API_URL", "http://admin:hunter22@127.0.0.1:9/api")
    monkeypatch.setenv("OMP_NUM_THREADS", "99")
    result = run(tmp_path, "--library", tmp_path, "--potential", "dice", "--json")
    assert result.exit_code == 1
    assert "hunter22" not in result.stdout
    states = {each["name"]: each["state"] for each in json.loads(result.stdout)["findings"]}
    wrong = {"server", "secret files", "results", "potential", "ledger", f"library {tmp_path.name}"}
    assert {name for name, state in states.items() if state == "broken"} >= wrong
    assert states["processors"] == "warning"


@pytest.mark.parametrize("columns", [60, 100, 300])
def test_the_screen_is_no_wider_than_it_should_be_and_tears_nothing(columns: int, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    path = "/data/" + "very-long-name/" * 8
    examined(monkeypatch, broken("heartbeat automation", f"{path} is [red]odd[/red] " + "word " * 40, "do " * 60))
    lines = run().stdout.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= min(columns, 100)
    assert "[red]odd[/red]" in " ".join(" ".join(lines).split())
    assert any("→ do do" in line for line in lines)


def test_without_colours_the_states_are_words() -> None:
    console = Console(width=80, color_system=None, file=io.StringIO())
    show_section(console, "Things", [ok("a", "x"), skipped("b", "y"), warning("c", "z", "r"), broken("d", "w", "s")])
    show_summary(console, [])
    text = console.file.getvalue()
    assert [line.split()[0] for line in text.splitlines()[1:] if line[:1].strip()] == [
        "ok",
        "skipped",
        "warning",
        "broken",
        "All",
    ]
