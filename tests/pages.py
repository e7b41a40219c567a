"""The project's Markdown pages, and what is in them."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]

PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deployments/**/*.md")})

_FENCE = re.compile(
    r"^(?P<mark><!-- run(?: slow)? -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def runnable(page: Path) -> list[tuple[str, bool]]:
    """Shell blocks after ``<!-- run -->`` or ``<!-- run slow -->``, and whether each is slow."""
    found = _FENCE.finditer(page.read_text(encoding="utf-8"))
    return [(block["text"], "slow" in block["mark"]) for block in found if block["mark"]]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def command_lines(page: Path) -> Iterator[str]:
    """Every call of ``automat`` in a shell block, continued lines joined, comments and other commands dropped."""
    text = page.read_text(encoding="utf-8")
    shell = [block["text"] for block in _FENCE.finditer(text) if block["kind"] in ("sh", "bash", "console")]
    indented = re.findall(r"(?:^ {4,}\S.*\n)+", prose(page), re.MULTILINE)
    for line in "\n".join((*shell, *indented)).replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|\|\||[|;]", re.sub(r"(^|\s)#.*", "", line)):
            called = re.search(r"^\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(automat .*)", part)
            if called:
                yield called[1].rstrip(" &'\"")


def generator() -> ModuleType:
    """``docs/generate.py``."""
    spec = importlib.util.spec_from_file_location("generate_reference", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
