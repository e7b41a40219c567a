from __future__ import annotations

from collections.abc import Iterator

import pytest
import web_site


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[web_site.Site]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with web_site.running() as site:
        yield site
