"""The files that start AutoMat in a lab, read as Docker and Prefect read them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

VARIABLE = re.compile(r"\$\{(\w+)(?::[-?]((?:[^${}]|\$\{[^}]*\})*))?\}")
"""``${NAME}``, ``${NAME:-default}`` and ``${NAME:?message}``, where a default may itself hold a variable."""


def interpolate(text: str, values: dict[str, str]) -> str:
    """Put values, or else defaults, into a compose file."""

    def value(match: re.Match[str]) -> str:
        return values.get(match[1]) or interpolate(match[2] or "", values)

    return VARIABLE.sub(value, text)


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def compose(root: Path) -> dict[str, Any]:
    """The compose file as somebody sees it who gave nothing but the two folders."""
    text = (root / "docker-compose.yml").read_text(encoding="utf-8")
    return yaml.safe_load(interpolate(text, {"AUTOMAT_DROP": "/srv/drop", "AUTOMAT_RESULTS": "/srv/drop-results"}))


@pytest.fixture(scope="session")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return compose["services"]


@pytest.fixture(scope="session")
def settings(root: Path) -> dict[str, str]:
    """What ``deployments/prefect.env`` sets."""
    return env_file(root / "deployments" / "prefect.env")


def env_file(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)
