"""What the Prefect UI shows of a run, and of a watched folder.

Texts are Markdown, which the UI renders with the HTML in it: whatever comes from a file, its name first, is escaped.
Links are relative, so that they lead to a page of the same UI wherever that is served.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from prefect.artifacts import create_markdown_artifact, create_progress_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.exceptions import ObjectNotFound

from intake.ledger import Ledger
from intake.places import shown
from intake.records import Content, State
from planning.records import Status
from reporting import words
from reporting.files import REPORT_HTML
from reporting.result import Result
from reporting.thumbnail import data_uri

LATEST = 50
"""Contents in the table of a watched folder."""

LONGEST = 160
"""Characters of a path or a reason in that table; the run has the whole of it."""

MARKS = {State.DONE: "", State.FAILED: "failed", State.RUNNING: "under way", State.WAITING: "waiting"}
"""What stands in the place of an answer."""


def publish(result: Result, folder: Path, thumbnail: bytes | None) -> None:
    """Create the artifact of a run; call once, at the end, or a retry would repeat it.

    The image and the answer are its description, which the UI shows on the cards of an overview too.
    """
    name = Path(result.image.path).name
    picture = f"![{escaped(name)}]({data_uri(thumbnail)})\n\n" if thumbnail else ""
    sure = f", {words.percent(result.confidence)}" if result.structure else ""
    create_markdown_artifact(
        summary(result, folder),
        key=key(name, (result.image.sha256 or "unreadable")[:8]),
        description=f"{picture}**{escaped(words.title(result))}**: {result.status}{sure}",
    )


def publish_ledger(name: str, ledger: Ledger) -> None:
    """Show how far a watched folder is, and its latest contents; what was shown before makes way."""
    contents = ledger.contents()
    ended = sum(each.state in (State.DONE, State.FAILED) for each in contents)
    latest = sorted(contents, key=lambda each: each.finished_at or each.started_at or each.seen_at, reverse=True)
    told = progress(name, contents)
    made = [
        create_progress_artifact(100.0 * ended / max(1, len(contents)), key=progress_key(name), description=told),
        create_markdown_artifact(ledger_table(latest[:LATEST]), key=ledger_key(name), description=told),
    ]
    _remove_others([progress_key(name), ledger_key(name)], made)


def _remove_others(keys: list[str], kept: list[UUID]) -> None:
    """Delete earlier artifacts of some keys: a folder is watched for months, and the ledger is the record."""
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=keys))
    with get_client(sync_client=True) as client:
        for artifact in client.read_artifacts(artifact_filter=wanted):
            if artifact.id not in kept:
                with suppress(ObjectNotFound):
                    client.delete_artifact(artifact.id)


def key(*parts: str) -> str:
    """Key of an artifact, which may hold lower-case letters, digits and dashes only."""
    return "-".join(filter(None, (re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in parts))) or "unnamed"


def progress_key(name: str) -> str:
    """Key of the progress of a watched folder of some name."""
    return key("folder", name, "progress")


def ledger_key(name: str) -> str:
    """Key of the table of a watched folder of some name."""
    return key("folder", name, "ledger")


def summary(result: Result, folder: Path) -> str:
    """Verdict, where the report is, values, checks."""
    rows = [f"| {name} | {escaped(value)} |" for name, value in values(result).items()]
    checks = [
        f"| {'✓' if check.passed else '✗'} {escaped(check.name.replace('_', ' '))} | {words.number(check.value)} "
        f"| {words.number(check.limit)} | {escaped(check.meaning)} |"
        for check in result.checks
    ]
    parts = [
        [escaped(words.verdict_sentence(result))],
        [f"Report: {code(str(folder / REPORT_HTML))}", "", f"Micrograph: {code(result.image.path)}"],
        ["| Result | |", "|---|---|", *rows],
        ["| Check | Value | Limit | Meaning |", "|---|---|---|---|", *checks] if checks else [],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def values(result: Result) -> dict[str, str]:
    """What was found, by name, in words."""
    found, energy = result.structure, result.energy
    rows = {"Verdict": f"{result.status}, confidence {words.percent(result.confidence)}"}
    if found:
        best = " (best attempt, not to be relied on)" if result.status is Status.REJECTED else ""
        rows |= {
            "Formula": f"{words.formula(found.formula)}{best}",
            "Layer group": f"{found.layer_group_symbol} (no. {found.layer_group})".strip(),
            "a": words.measured(found.a, found.a_error, "Å"),
            "b": words.measured(found.b, found.b_error, "Å"),
            "γ": words.measured(found.gamma, found.gamma_error, "°"),
        }
    if energy:
        rows |= {
            "Energy": f"{words.number(energy.energy_per_atom)} eV/atom",
            "Formation energy": f"{words.number(energy.formation_energy_per_atom)} eV/atom",
            "Potential": energy.potential,
        }
    if result.error:
        rows |= {"Failed in": result.error.stage, "Error": result.error.message}
    return rows


def progress(name: str, contents: list[Content]) -> str:
    """One sentence about a watched folder: how many have an answer, and which."""
    answers: dict[str, int] = {}
    for each in contents:
        answer = each.status if each.state is State.DONE else MARKS[each.state]
        answers[answer or "done"] = answers.get(answer or "done", 0) + 1
    listed = ", ".join(f"{count} {answer}" for answer, count in sorted(answers.items()))
    return f"**{escaped(name)}**: {len(contents)} micrographs ({listed or 'none yet'})"


def ledger_table(contents: list[Content]) -> str:
    """A row for each content, with a link to its latest run."""
    rows = [f"| {' | '.join(_row(each))} |" for each in contents]
    return "\n".join(["| Micrograph | Verdict | Answer | Reason |", f"|{'---|' * 4}", *rows])


def _row(content: Content) -> list[str]:
    name = escaped(_cut(content.path))
    reason = content.reason.split(f"{content.name}: ", 1)[-1]  # the file has a column
    answer = f"{words.formula(content.formula)} {words.percent(content.confidence)}" if content.formula else ""
    return [
        f"[{name}](../../runs/flow-run/{content.run_id})" if content.run_id else name,
        escaped(content.status or MARKS[content.state]),
        escaped(answer),
        escaped(_cut(reason)),
    ]


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def escaped(text: str) -> str:
    """Make a text mean itself in Markdown, on one line: what marks up, tags and entities stand for themselves."""
    return re.sub(r"([\\`*_\[\]<>|&~#!$])", r"\\\1", shown(text))


def code(text: str) -> str:
    """Show a path so that it can be copied as a whole."""
    safe = shown(text)
    return escaped(text) if "`" in safe else f"`{safe.replace('|', chr(92) + '|')}`"
