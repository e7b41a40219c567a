"""What pages say of files, commands and variables is so."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pages
import pytest
import yaml

from planning.llm.endpoint import PREFIX, Configuration

COMMANDS = {" ".join(path): command for path, command in pages.generator().walk(pages.generator().root())}
PACKAGES = sorted({path.parent for path in pages.ROOT.glob("*/__init__.py")})

every_page = pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)


def anchors(page: Path) -> set[str]:
    """Fragments of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", pages.prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", pages.prose(page)):
        path, _, fragment = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        linked = (page.parent / unquote(path)).resolve() if path else page
        if not linked.exists() or (fragment and fragment not in anchors(linked)):
            broken.append(target)
    assert broken == []


def test_every_page_is_reached_from_the_index() -> None:
    index = pages.ROOT / "docs" / "README.md"
    linked = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)\)", index.read_text())}
    assert {page for page in pages.PAGES if page.is_relative_to(index.parent)} - linked == {index}


@every_page
def test_commands_exist_with_their_options(page: Path) -> None:
    assert [problem for line in pages.command_lines(page) if (problem := wrong(line))] == []


def wrong(line: str) -> str:
    """What is wrong with a command line, or nothing."""
    words = shlex.split(line.replace("…", "ELLIPSIS"))[1:]
    if not words or words[0].startswith("-") or words[0].isupper():
        return ""
    named = next((" ".join(words[:n]) for n in (1, 2) if " ".join(words[:n]) in COMMANDS), None)
    if named is None:
        return f"{line}: no such command"
    options = known_options(COMMANDS[named])
    given = [word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    return f"{line}: {unknown}" if (unknown := sorted(set(given) - options)) else ""


def known_options(command: Any) -> set[str]:
    return {"--help", *(name for each in command.params for name in each.opts if name.startswith("-"))}


def test_a_wrong_command_line_is_noticed() -> None:
    assert wrong("automat inspect x.tif --json") == ""
    assert wrong("automat inspekt x.tif").endswith("no such command")
    assert wrong("automat library info --josn").endswith("['--josn']")


def test_the_page_of_variables_has_those_of_the_code() -> None:
    page = (pages.ROOT / "docs" / "reference" / "environment.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`(AUTOMAT_\w+)`", page))
    source = "\n".join(path.read_text() for package in PACKAGES for path in package.rglob("*.py"))
    used = set(re.findall(r"AUTOMAT_[A-Z_]*[A-Z]\b", source)) - {PREFIX.rstrip("_")}
    used |= {f"{PREFIX}{field.upper()}" for field in Configuration.model_fields}
    assert used - told == set()
    assert told - used <= {"AUTOMAT_REMOTE"}


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((pages.ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((pages.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in project["authors"]]
