from __future__ import annotations

import canned
import pytest
from canned import Science


@pytest.fixture
def science(monkeypatch: pytest.MonkeyPatch) -> Science:
    return canned.install(monkeypatch)
