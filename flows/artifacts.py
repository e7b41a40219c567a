"""What a run shows in the Prefect UI: a thumbnail, a table and a few lines of text."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
)

from intake.ledger import Ledger
from intake.places import shown
from intake.records import Content, State
from reporting.result import Result
from reporting.thumbnail import data_uri
from reporting.words import verdict_sentence

LATEST = 100
"""Contents in the table of a watched folder."""


def publish(result: Result, folder: Path, thumbnail: bytes | None) -> None:
    """Create the artifacts; call once, at the end of a run, or a retry would repeat them."""
    key = f"automat-{(result.image.sha256 or 'unreadable')[:8]}"
    if thumbnail is not None:
        create_image_artifact(data_uri(thumbnail), key=f"{key}-image", description=result.image.path)
    create_table_artifact(table(result), key=f"{key}-result")
    create_markdown_artifact(markdown(result, folder), key=f"{key}-summary")


def publish_ledger(name: str, ledger: Ledger) -> None:
    """Show how far a watched folder is, and its latest contents."""
    contents = ledger.contents()
    ended = [each for each in contents if each.state in (State.DONE, State.FAILED)]
    key = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "folder"
    create_progress_artifact(
        100.0 * len(ended) / max(1, len(contents)),
        key=f"automat-{key}-progress",
        description=f"{len(ended)} of {len(contents)} micrographs of {shown(name)} have an answer",
    )
    latest = sorted(contents, key=lambda each: each.finished_at or each.started_at or each.seen_at, reverse=True)
    create_table_artifact([_row(each) for each in latest[:LATEST]], key=f"automat-{key}-ledger")


def _row(content: Content) -> dict[str, Any]:
    return {
        "file": shown(content.name),
        "state": str(content.state),
        "status": content.status,
        "formula": content.formula,
        "confidence": _plain(content.confidence),
        "reason": content.reason,
        "run folder": content.folder,
    }


def table(result: Result) -> list[dict[str, Any]]:
    """Rows of name and value; only what JSON can hold."""
    found, energy = result.structure, result.energy
    rows: dict[str, Any] = {"status": str(result.status), "confidence": result.confidence}
    if found:
        rows |= {
            "formula": found.formula,
            "layer group": found.layer_group,
            "a (Å)": found.a,
            "b (Å)": found.b,
            "γ (°)": found.gamma,
        }
    if energy:
        rows |= {
            "energy (eV/atom)": energy.energy_per_atom,
            "formation energy (eV/atom)": energy.formation_energy_per_atom,
            "potential": energy.potential,
        }
    if result.error:
        rows |= {"failed in": result.error.stage, "error": result.error.message}
    return [{"quantity": name, "value": _plain(value)} for name, value in rows.items()]


def markdown(result: Result, folder: Path) -> str:
    """Verdict, checks and where the report is."""
    lines = [f"**{verdict_sentence(result)}**", ""]
    lines += [
        f"- {'✓' if check.passed else '✗'} {check.name}: {check.value} (limit {check.limit})" for check in result.checks
    ]
    lines += ["", f"Run folder: `{folder}`"]
    return "\n".join(lines)


def _plain(value: Any) -> Any:
    """Python scalars for numpy ones; None where JSON has no number."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
