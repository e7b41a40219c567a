"""What came back: taken only when it is exactly what was asked for. Nothing in it can raise, or reach further."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from planning.records import Branch

MAX_REASON = 200
"""Characters of a reason that are kept."""

PLAIN = str.maketrans({"<": "‹", ">": "›", "&": "+", "[": "(", "]": ")", "`": "'", "|": "/", "\\": "/", '"': "'"})
"""Signs that mean something to HTML, Markdown or a terminal, and what they become."""


@dataclass(frozen=True)
class Answer:
    """A branch and the reason for it, or the problem that leaves no branch.

    Attributes
    ----------
    branch
        One of the legal ones; None when there is a problem.
    reason
        Printable, at most `MAX_REASON` characters, without markup.
    problem
        Why the answer is not taken; empty when it is.
    tokens
        As far as the endpoint counted them.
    """

    branch: Branch | None
    reason: str = ""
    problem: str = ""
    tokens: dict[str, int] = field(default_factory=dict)


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: Any = None


class _Completion(BaseModel):
    """The envelope of the chat-completions interface."""

    choices: list[_Choice]
    usage: Any = None


class _Chosen(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    branch: str
    reason: str


def read_answer(raw: bytes, legal: Sequence[Branch]) -> Answer:
    """Read the body of a response; blank lines around it, which keep a connection alive, do not matter."""
    try:
        completion = _Completion.model_validate(_json(raw.decode("utf-8").strip(), "response"))
    except _UnusableError as error:
        return Answer(None, problem=str(error))
    except UnicodeDecodeError:
        return Answer(None, problem="the response is no text")
    except ValidationError:
        return Answer(None, problem="the response is no chat completion")
    tokens = _tokens(completion.usage)
    if not completion.choices:
        return Answer(None, problem="the response holds no answer", tokens=tokens)
    choice = completion.choices[0]
    if choice.finish_reason == "length":
        return Answer(None, problem="the answer was cut off", tokens=tokens)
    try:
        chosen = _Chosen.model_validate(_json((choice.message.content or "").strip(), "answer"))
    except _UnusableError as error:
        return Answer(None, problem=str(error), tokens=tokens)
    except ValidationError:
        return Answer(None, problem="the answer is not a branch and a reason", tokens=tokens)
    return only_legal(Answer(_branch(chosen.branch), plain(chosen.reason), tokens=tokens), legal)


def only_legal(answer: Answer, legal: Sequence[Branch]) -> Answer:
    """Turn an answer whose branch is not legal into a problem."""
    if answer.branch in legal:
        return answer
    return Answer(None, problem="the answer names no legal branch", tokens=answer.tokens)


def plain(text: str) -> str:
    """One line of printable text without markup, cut to `MAX_REASON` characters."""
    head = text[: 8 * MAX_REASON]
    visible = "".join(sign if sign.isprintable() else " " for sign in head)
    line = " ".join(visible.translate(PLAIN).split())
    return line if len(line) <= MAX_REASON else line[: MAX_REASON - 1] + "…"


class _UnusableError(Exception):
    """No JSON object."""


def _json(text: str, what: str) -> Any:
    if not text:
        raise _UnusableError(f"the {what} is blank")
    if text.startswith("```"):
        raise _UnusableError(f"the {what} is fenced, not plain JSON")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise _UnusableError(f"the {what} is no JSON") from None


def _branch(name: str) -> Branch | None:
    return Branch(name) if name in set(Branch) else None


def _tokens(usage: Any) -> dict[str, int]:
    if not isinstance(usage, dict):
        return {}
    names = ("prompt_tokens", "completion_tokens")
    return {name: usage[name] for name in names if type(usage.get(name)) is int and abs(usage[name]) < 1e9}
