"""``automat prune``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app

Prune = Callable[..., Result]


@pytest.fixture
def prune() -> Prune:
    return lambda *arguments: CliRunner().invoke(app, ["prune", *arguments])


@pytest.fixture
def old(cache: Path) -> Path:
    """A record that nobody has used for 40 days, beside a new one."""
    folder = cache / "records" / "Denoised" / "aa"
    folder.mkdir(parents=True)
    (folder / "aa2.npz").write_bytes(b"x" * 3000)
    (folder / "aa1.npz").write_bytes(b"x" * 3000)
    then = time.time() - 40 * 86400
    os.utime(folder / "aa1.npz", (then, then))
    return folder / "aa1.npz"


def test_what_was_freed_is_told_by_kind(prune: Prune, old: Path, cache: Path) -> None:
    dry = prune("--older-than", "30d", "--dry-run")
    assert old.exists()
    size = old.stat().st_blocks * 512
    told = f"{size / 1000:.1f} KB"
    assert dry.stdout.splitlines() == [
        f"Denoised  1 file, {told}",
        f"{told} would be freed in {cache}; 1 file, {told} left",
    ]
    done = prune("--older-than", "30d")
    assert done.stdout == dry.stdout.replace("would be freed", "freed")
    assert (done.exit_code, done.stderr, old.exists()) == (0, "", False)


def test_what_stays_beyond_the_limit_is_explained(prune: Prune, old: Path) -> None:
    done = prune("--keep", "1kB")
    assert not old.exists()
    assert "were used within a day, and stay" in done.stderr


def test_json_is_one_document(prune: Prune, old: Path) -> None:
    size = old.stat().st_blocks * 512
    told = json.loads(prune("--keep", "1kB", "--older-than", "99d", "--json").stdout)
    assert told["removed"] == {"Denoised": {"files": 1, "bytes": size}}
    assert (told["freed"], told["dry_run"]) == (size, False)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "say what may go"),
        (("--older-than", "soon"), "give a time such as"),
        (("--older-than", "30"), "give 1d or more"),
        (("--keep", "20"), "with its unit"),
        (("--keep", "much"), "with its unit"),
    ],
)
def test_what_is_meant_must_be_clear(arguments: tuple[str, ...], told: str, prune: Prune, old: Path) -> None:
    result = prune(*arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert told in line
    assert old.exists()
