from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LINES = (ROOT / "constraints.txt").read_text().splitlines()


def pins() -> dict[str, Version]:
    return {canonicalize_name(name): Version(version) for name, version in (line.split("==") for line in LINES)}


def requirements() -> list[Requirement]:
    extra = PROJECT["project"]["optional-dependencies"]["dev"]
    return [Requirement(text) for text in (*PROJECT["project"]["dependencies"], *extra)]


def test_constraints_are_plain_pins_each_once() -> None:
    assert [line for line in LINES if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)] == []
    assert len(pins()) == len(LINES)


def test_every_requirement_is_pinned_within_its_range() -> None:
    pinned = pins()
    for requirement in requirements():
        assert pinned[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_whatever_a_requirement_pulls_in_is_pinned_too() -> None:
    """Walk the requirements, extras included, as far as the packages are installed."""
    pinned = pins()
    waiting = requirements()
    seen: set[tuple[str, frozenset[str]]] = set()
    missing = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        node = (name, frozenset(requirement.extras))
        if node in seen:
            continue
        seen.add(node)
        if name not in pinned:
            missing.add(name)
            continue
        try:
            below = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for each in map(Requirement, below):
            extras = ["", *requirement.extras]
            if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(each)
    assert missing <= {"setuptools"}  # every environment brings its own


def test_mattersim_is_pinned_but_not_required() -> None:
    names = {canonicalize_name(requirement.name) for requirement in requirements()}
    assert "mattersim" in pins()
    assert names.isdisjoint({"mattersim", "torchvision", "torchaudio"})
    assert {"torchvision", "torchaudio"}.isdisjoint(pins())


def test_whatever_the_environment_holds_of_the_pins_has_the_pinned_version() -> None:
    installed = {canonicalize_name(each.name): each.version for each in importlib.metadata.distributions()}
    different = {
        name: (installed[name], str(version))
        for name, version in pins().items()
        if name in installed and Version(installed[name]).public != version.public
    }
    assert different == {}


def test_every_package_is_listed_and_described() -> None:
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    top = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert top <= listed
    below = {
        ".".join(path.parent.relative_to(ROOT).parts) for name in top for path in (ROOT / name).rglob("__init__.py")
    }
    assert below == listed
    # A package-data pattern that matches nothing is a file that will be missing from an installation.
    for package, patterns in PROJECT["tool"]["setuptools"]["package-data"].items():
        for pattern in patterns:
            assert list((ROOT / package).glob(pattern)), f"{package}: {pattern}"


def test_the_packages_are_importable_from_anywhere(tmp_path: Path) -> None:
    names = PROJECT["tool"]["setuptools"]["packages"]
    code = f"import importlib; print([importlib.import_module(n).__file__ for n in {names!r}])"
    told = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert told.stdout.count("__init__.py") == len(names)


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_an_old_python_is_refused_with_a_remedy(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2"\nexit 1\n')
    old.chmod(0o755)
    told = make("install", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}")
    assert told.returncode != 0
    assert "needs Python 3.11 or newer" in told.stderr
    assert "Python 3.9.2" in told.stderr
    assert "make PYTHON=python3.12 install" in told.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize(("target", "told"), [("demo", "automat demo"), ("test", "-m pytest"), ("lint", "ruff check")])
def test_each_target_installs_first(target: str, told: str, tmp_path: Path) -> None:
    plan = make("--dry-run", target, f"VENV={tmp_path / 'venv'}").stdout
    assert plan.index("-m venv") < plan.index("--constraint constraints.txt --editable .") < plan.index(told)
    assert "--no-deps mattersim" in plan


def test_the_ci_script_is_valid_bash() -> None:
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)
