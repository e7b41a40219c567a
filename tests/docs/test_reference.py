"""The tables of docs/reference are those of the code."""

from __future__ import annotations

import re

import pages
import pytest

GENERATOR = pages.generator()
BLOCKS = [(page, name) for page, blocks in GENERATOR.PAGES.items() for name in blocks]


@pytest.mark.parametrize(("page", "name"), BLOCKS)
def test_a_table_is_that_of_the_code(page: str, name: str) -> None:
    text = (GENERATOR.REFERENCE / page).read_text(encoding="utf-8")
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- end -->", text, re.DOTALL)
    assert found is not None
    assert found[1].strip() == GENERATOR.PAGES[page][name](), "run: python docs/generate.py"


@pytest.mark.parametrize(("page", "name"), BLOCKS)
def test_every_row_has_a_meaning(page: str, name: str) -> None:
    rows = [line for line in GENERATOR.PAGES[page][name]().splitlines() if line.startswith("| `")]
    assert rows
    assert [row for row in rows if re.search(r"\| *\|$", row)] == []
