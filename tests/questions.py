"""A situation in which a planner has a choice, and the configuration of a model that may make it."""

from __future__ import annotations

import pytest

from planning.planner import Situation
from planning.records import Branch, Check, Status, Verdict

UNFIT = Verdict(
    checks=(
        Check("lattice", 12.3456, 4.0, True, "strongest reflection over the noise amplitude"),
        Check("fit", 0.912345, 0.97, False, "correlation of the image with the simulated crystal"),
    ),
    confidence=0.31,
    status=Status.AMBIGUOUS,
    reason="fit: correlation of the image with the simulated crystal is 0.912, limit 0.97",
)
TRIED = (Branch.WIDEN_SEARCH, Branch.TRY_SUPERCELL)
SITUATION = Situation(candidates_left=9, element_filter=True, likeness=0.52)
OPTIONS = (Branch.SUBSTITUTE, Branch.TEMPLATE_FREE, Branch.ACCEPT)
"""The legal branches, preferred first, and to stop."""

KEY = "sk-4f9a7c1e2b8d"


def configure(monkeypatch: pytest.MonkeyPatch, base_url: str, **others: object) -> None:
    """Set the variables of a model, and no others."""
    for name in ("CONFIG", "API_KEY_FILE", "LOG", "ALLOW_HTTP", "STRUCTURED_OUTPUT", "DEADLINE"):
        monkeypatch.delenv(f"AUTOMAT_LLM_{name}", raising=False)
    wanted = {"base_url": base_url, "model": "scripted", "api_key": KEY, **others}
    for field, value in wanted.items():
        monkeypatch.setenv(f"AUTOMAT_LLM_{field.upper()}", str(value))
