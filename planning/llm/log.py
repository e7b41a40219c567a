"""The log of a language model: one JSON line for each exchange, only ever appended to; and its replay."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from planning.llm.answer import Answer, only_legal, plain, read_answer
from planning.llm.client import Exchange
from planning.llm.endpoint import Endpoint, LlmError
from planning.records import Branch

KEY = "(key)"
"""Stands where an endpoint sent the key back."""

SHORTEST_KEY = 8
"""Shorter keys are no secrets: servers on this machine take any word."""


class Line(BaseModel):
    """One line of the log.

    Attributes
    ----------
    time
        Of the end of the exchange, UTC.
    sha256
        Of the question: what `recorded` looks for.
    host, model
        Who was asked.
    request
        The body that was sent.
    status, raw, seconds, tokens
        What came back, in which time.
    parsed
        Branch and reason, when the answer was valid.
    problem
        Why there was no valid answer.
    chosen, chosen_by
        The branch taken in the end and who chose it; None before the last exchange of a question.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    time: str
    sha256: str
    host: str
    model: str
    request: dict[str, Any]
    status: int | None
    raw: str
    seconds: float
    tokens: dict[str, int]
    parsed: dict[str, str] | None
    problem: str
    chosen: str | None
    chosen_by: str | None


def lines(
    sha256: str, endpoint: Endpoint, key: str, exchanges: Sequence[Exchange], answer: Answer, rule: Branch
) -> list[Line]:
    """Tell the exchanges of one question; the key, should it have come back, is struck out."""

    def line(exchange: Exchange, found: Answer, last: bool) -> Line:
        chosen = found.branch or rule
        return Line(
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            sha256=sha256,
            host=endpoint.host,
            model=endpoint.model,
            request=exchange.body,
            status=exchange.status,
            raw=struck(exchange.raw.decode("utf-8", "replace"), key),
            seconds=round(exchange.seconds, 3),
            tokens=found.tokens,
            parsed={"branch": found.branch.value, "reason": found.reason} if found.branch else None,
            problem=found.problem,
            chosen=chosen.value if last else None,
            chosen_by=("llm" if found.branch else "rules") if last else None,
        )

    *before, final = exchanges
    return [*(line(each, Answer(None, problem=each.problem), False) for each in before), line(final, answer, True)]


def outcome(exchanges: Sequence[Exchange], legal: Sequence[Branch], key: str = "") -> Answer:
    """Read the answer in the last exchange, without the key whole or, where a reason is cut, in part."""
    final = exchanges[-1]
    if final.problem:
        return Answer(None, problem=final.problem)
    raw = final.raw.replace(key.encode(), KEY.encode()) if len(key) >= SHORTEST_KEY else final.raw
    answer = read_answer(raw, legal)
    return replace(answer, reason=struck(answer.reason, key))


def struck(text: str, key: str) -> str:
    """Text without the key."""
    return text.replace(key, KEY) if len(key) >= SHORTEST_KEY else text


def append(path: Path, told: Sequence[Line]) -> None:
    """Add lines, each whole or not at all; with none, only see that the log can be written.

    Raises
    ------
    LlmError
        If it cannot.
    """
    data = "".join(json.dumps(line.model_dump(), ensure_ascii=True) + "\n" for line in told).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "ab", buffering=0) as file:
            if data:
                file.write(data)
    except OSError as error:
        raise LlmError(f"the log {path} cannot be written: {error.strerror}") from error


def recorded(contents: bytes, sha256: str, legal: Sequence[Branch]) -> Answer:
    """The last answer to a question in a log; lines that are no lines of a log are passed over."""
    for text in reversed(contents.splitlines()):
        if sha256.encode() not in text:
            continue
        try:
            line = Line.model_validate_json(text)
        except ValidationError:
            continue
        if line.sha256 == sha256 and line.chosen_by is not None:
            return _told(line, legal)
    return Answer(None, problem="the log holds no answer to this question")


def _told(line: Line, legal: Sequence[Branch]) -> Answer:
    if line.parsed is None:
        return Answer(None, problem=plain(line.problem) or "the log holds no answer to this question")
    name = line.parsed.get("branch", "")
    branch = Branch(name) if name in set(Branch) else None
    return only_legal(Answer(branch, plain(line.parsed.get("reason", ""))), legal)
