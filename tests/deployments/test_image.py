from __future__ import annotations

import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def instructions(root: Path) -> list[tuple[str, str]]:
    """Instructions of the Dockerfile, each with what follows it, comments left out."""
    text = (root / "deployments" / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"\\\n\s*", " ", re.sub(r"(?m)^#.*\n", "", text))
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line]  # type: ignore[misc]


def all_of(instructions: list[tuple[str, str]], name: str) -> list[str]:
    return [rest for instruction, rest in instructions if instruction == name]


def kept(root: Path, path: str) -> bool:
    """Whether ``.dockerignore`` lets a path into the build: the last pattern that fits it or a parent decides."""
    parts = path.split("/")
    parents = ["/".join(parts[: length + 1]) for length in range(len(parts))]
    inside = True
    for line in (root / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        anywhere = pattern.startswith("**/")
        names = parts if anywhere else parents
        if any(fnmatch(name, pattern.removeprefix("**/")) for name in names):
            inside = line.startswith("!")
    return inside


def test_base_images_are_pinned(instructions: list[tuple[str, str]]) -> None:
    bases = {rest.split()[0] for rest in all_of(instructions, "FROM")}
    assert bases == {"python:${PYTHON}-slim-bookworm"}
    assert re.fullmatch(r"PYTHON=3\.\d+", all_of(instructions, "ARG")[0])


def test_compose_gives_only_arguments_that_the_image_takes(
    instructions: list[tuple[str, str]], services: dict[str, Any]
) -> None:
    taken = {rest.split("=")[0] for rest in all_of(instructions, "ARG")}
    assert set(services["server"]["build"]["args"]) <= taken


def test_it_does_not_run_as_root_and_says_whether_it_works(instructions: list[tuple[str, str]]) -> None:
    assert all_of(instructions, "USER") == ["${UID}:${GID}"]
    assert len(all_of(instructions, "HEALTHCHECK")) == 1
    assert all_of(instructions, "ENTRYPOINT") == ['["automat"]']


def test_pip_is_held_to_the_pins_and_leaves_no_cache(instructions: list[tuple[str, str]]) -> None:
    for command in (rest for rest in all_of(instructions, "RUN") if "pip install" in rest):
        assert "--constraint /wheels/constraints.txt" in command or "--no-deps /wheels/*.whl" in command
        assert "type=cache,target=/root/.cache/pip" in command or "--no-cache-dir" in command


def test_what_is_copied_is_there_and_reaches_the_build(instructions: list[tuple[str, str]], root: Path) -> None:
    for rest in all_of(instructions, "COPY"):
        if "--from=" in rest or rest.startswith(". "):
            continue
        source = rest.split()[0]
        assert (root / source).is_file()
        assert kept(root, source), source


def test_everything_the_wheel_is_made_of_reaches_the_build(root: Path, project: dict[str, Any]) -> None:
    metadata = project["project"]
    for name in ("pyproject.toml", metadata["readme"], *metadata["license-files"]):
        assert kept(root, name), name
    for package in project["tool"]["setuptools"]["packages"]:
        assert kept(root, f"{package.replace('.', '/')}/__init__.py"), package


def test_nothing_else_does(root: Path) -> None:
    for name in (".git/config", ".env", ".venv/bin/python", "deployments/secrets/api_auth", "runs/x/result.json"):
        assert not kept(root, name), name
    assert not kept(root, "flows/__pycache__/cli.cpython-311.pyc")


def test_deployments_are_no_package(root: Path, project: dict[str, Any]) -> None:
    assert not (root / "deployments" / "__init__.py").exists()
    assert not any(name.startswith("deployments") for name in project["tool"]["setuptools"]["packages"])


def test_secrets_are_made_once_and_are_for_the_owner(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    command = ["sh", str(root / "deployments" / "make-secrets.sh"), str(folder), "db.lab"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    made = {path.name: path.read_text().strip() for path in folder.iterdir()}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert made["database_url"] == f"postgresql+asyncpg://automat:{made['postgres_password']}@db.lab:5432/prefect"
    assert re.fullmatch(r"automat:[0-9a-f]{48}", made["api_auth"])
    assert not any(value in output for value in made.values())
    subprocess.run(command, check=True, capture_output=True)
    assert {path.name: path.read_text().strip() for path in folder.iterdir()} == made
