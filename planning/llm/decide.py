"""Who decides after a failed check: the rules, a language model, or the log of one.

Whatever goes wrong with the model, the rules decide and the reason says so. The model chooses only among branches that
the rules allow, or to stop; it is asked only where there is a choice, and at most `MAX_DECISIONS` times a run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from planning.llm.answer import Answer
from planning.llm.client import ask
from planning.llm.endpoint import Endpoint, LlmError, configuration, secret
from planning.llm.log import append, lines, outcome, recorded
from planning.llm.question import Message, fingerprint, question
from planning.planner import MAX_ATTEMPTS, Planner, Situation, legal_branches, plan
from planning.records import Branch, Decision, Verdict

MAX_DECISIONS = 2
"""Decisions of a run that a model is asked for; what two did not mend, a third rarely does."""

REPLAY = "replay:"


@dataclass(frozen=True)
class Model:
    """A language model, and the log of what it is asked."""

    endpoint: Endpoint
    log: Path

    name = "llm"

    @property
    def identity(self) -> list[str]:
        """What a cache key sees."""
        return self.endpoint.identity

    def answer(self, messages: Sequence[Message], legal: Sequence[Branch], rule: Branch) -> Answer:
        """Ask and log; nothing is sent that could not be logged.

        Raises
        ------
        LlmError
            If the log cannot be written, or the configuration is gone or another one.
        """
        configured = configuration()
        if configured.endpoint != self.endpoint:
            raise LlmError("the configuration has changed during the run")
        key = secret(configured)
        append(self.log, ())
        exchanges = ask(self.endpoint, key, messages, legal)
        found = outcome(exchanges, legal, key)
        append(self.log, lines(fingerprint(messages), self.endpoint, key, exchanges, found, rule))
        return found


@dataclass(frozen=True)
class Recording:
    """The log of an earlier run, known by its digest."""

    path: Path
    sha256: str

    name = "replay"

    @property
    def identity(self) -> str:
        """What a cache key sees."""
        return self.sha256

    def answer(self, messages: Sequence[Message], legal: Sequence[Branch], rule: Branch) -> Answer:
        """Look the answer up.

        Raises
        ------
        LlmError
            If the log is gone or another one.
        """
        contents = _contents(self.path)
        if hashlib.sha256(contents).hexdigest() != self.sha256:
            raise LlmError(f"the log {self.path} has changed during the run")
        return recorded(contents, fingerprint(messages), legal)


Adviser = Model | Recording


def adviser(name: str, log: Path) -> Adviser:
    """Prepare what ``llm`` or ``replay:FILE`` names.

    Parameters
    ----------
    name
        As the user wrote it.
    log
        Where a model is logged, unless its configuration says otherwise.

    Raises
    ------
    LlmError
        If no model is configured, or the file cannot be read.
    """
    if name.startswith(REPLAY):
        path = Path(name.removeprefix(REPLAY)).expanduser()
        return Recording(path, hashlib.sha256(_contents(path)).hexdigest())
    configured = configuration()
    secret(configured)  # a missing key is said before anything is computed
    return Model(configured.endpoint, (configured.log or log).expanduser())


def decide(
    verdict: Verdict | None,
    tried: Sequence[Branch],
    situation: Situation,
    planner: Planner | Adviser = "rules",
    max_attempts: int = MAX_ATTEMPTS,
    asked: int = 0,
) -> Decision:
    """Decide what follows an attempt.

    Parameters
    ----------
    verdict, tried, situation, max_attempts
        As for `plan`.
    planner
        Who decides.
    asked
        Decisions of this run that an adviser was already asked for.
    """
    if isinstance(planner, str):
        return plan(verdict, tried, situation, planner, max_attempts)
    rule = plan(verdict, tried, situation, "rules", max_attempts)
    legal = legal_branches(verdict, tried, situation)
    if rule.branch not in legal or len(legal) < 2:
        return rule  # the run ends, or one branch is left: nothing to choose, nothing to pay for
    if asked >= MAX_DECISIONS:
        return _by_rule(rule, planner, f"asked {MAX_DECISIONS} times already")
    stop = plan(verdict, tried, situation, "none").branch
    options = (*legal, stop)
    try:
        answer = planner.answer(question(verdict, tried, situation, options), options, rule.branch)
    except LlmError as error:
        answer = Answer(None, problem=str(error))
    if answer.branch is None:
        return replace(_by_rule(rule, planner, answer.problem), asked=True)
    return Decision(answer.branch, f"{rule.reason}; {planner.name}: {answer.reason}", planner.name, asked=True)


def _by_rule(rule: Decision, planner: Adviser, problem: str) -> Decision:
    return replace(rule, reason=f"{rule.reason}; chosen by the rules ({planner.name}: {problem})")


def _contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LlmError(f"{path}: {error.strerror}; --planner {REPLAY}FILE takes the log of an earlier run") from error
