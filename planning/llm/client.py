"""One question over HTTP: a total deadline that nothing a server does can stretch, and every exchange kept.

The work is done in a thread of its own with its own event loop: the caller may have one already, and a name server that
does not answer cannot be cancelled, only left behind.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Thread
from typing import Any

import httpx

from planning.llm.endpoint import Endpoint, StructuredOutput
from planning.llm.question import Message, canonical
from planning.records import Branch

MAX_BYTES = 256 * 1024
"""Largest response that is read; an answer has a few hundred bytes."""

MAX_TOKENS = 2000
"""Largest answer that is asked for: models that think before they answer count their thoughts."""

CONNECT = 5.0
"""Seconds to connect, so that a second try fits into the deadline."""

PAUSES = (1.0, 2.0)
"""Seconds before each repetition, or longer if the server wishes."""

GRACE = 1.0
"""Seconds beyond the deadline after which the thread is left behind."""

UNAVAILABLE = b"response_format type is unavailable"
"""How DeepSeek refuses a way to ask for JSON."""

SIMPLER: dict[StructuredOutput, StructuredOutput] = {"json_schema": "json_object", "json_object": "none"}


@dataclass(frozen=True)
class Exchange:
    """One request and what came of it.

    Attributes
    ----------
    body
        The request.
    status
        HTTP status; None when there was none.
    raw
        Body of the response, as far as it was read.
    seconds
        How long it took.
    problem
        Why there is no answer in it; empty after status 200.
    pause
        Seconds after which the same request may succeed; None when it would not.
    """

    body: dict[str, Any]
    status: int | None
    raw: bytes
    seconds: float
    problem: str = ""
    pause: float | None = None


def ask(
    endpoint: Endpoint,
    key: str,
    messages: Sequence[Message],
    legal: Sequence[Branch],
    transport: httpx.AsyncBaseTransport | None = None,
) -> list[Exchange]:
    """Ask, twice more where that may help; never raises, never takes longer than the deadline and `GRACE`.

    Returns
    -------
    list of Exchange
        In order; the last one holds the answer, or the problem.
    """
    exchanges: list[Exchange] = []
    problem = ""
    started = time.monotonic()

    def work() -> None:
        nonlocal problem
        try:
            asyncio.run(_converse(endpoint, key, messages, legal, transport, exchanges))
        except Exception as error:  # such as a proxy with an impossible address
            problem = f"no request could be made ({type(error).__name__})"

    thread = Thread(target=work, name="llm", daemon=True)
    thread.start()
    thread.join(endpoint.deadline + GRACE)
    if thread.is_alive():
        problem = _late(endpoint)
    if problem:
        body = request_body(endpoint, endpoint.structured_output, messages, legal)
        return [*exchanges, Exchange(body, None, b"", time.monotonic() - started, problem)]
    return exchanges


def request_body(
    endpoint: Endpoint, structured: StructuredOutput, messages: Sequence[Message], legal: Sequence[Branch]
) -> dict[str, Any]:
    """Everything that is sent, but for the headers."""
    host = httpx.URL(endpoint.base_url).host
    # OpenAI's reasoning models refuse the older name, other servers do not know the newer one.
    limit = "max_completion_tokens" if host == "api.openai.com" else "max_tokens"
    body: dict[str, Any] = {"model": endpoint.model, "messages": list(messages), "stream": False, limit: MAX_TOKENS}
    match structured:
        case "json_object":
            body["response_format"] = {"type": "json_object"}
        case "json_schema":
            schema = {"name": "decision", "strict": True, "schema": _schema(legal)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if host == "deepseek.com" or host.endswith(".deepseek.com"):
        body["thinking"] = {"type": "disabled"}
    return body


def _schema(legal: Sequence[Branch]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "branch": {"type": "string", "enum": [branch.value for branch in legal]},
            "reason": {"type": "string"},
        },
        "required": ["branch", "reason"],
        "additionalProperties": False,
    }


async def _converse(
    endpoint: Endpoint,
    key: str,
    messages: Sequence[Message],
    legal: Sequence[Branch],
    transport: httpx.AsyncBaseTransport | None,
    exchanges: list[Exchange],
) -> None:
    end = asyncio.get_running_loop().time() + endpoint.deadline
    structured = endpoint.structured_output
    repeated = 0
    async with _client(endpoint, key, transport) as client:
        while True:
            exchange = await _exchange(client, endpoint, request_body(endpoint, structured, messages, legal), end)
            exchanges.append(exchange)
            refused = exchange.status == httpx.codes.BAD_REQUEST and UNAVAILABLE in exchange.raw
            if refused and structured == endpoint.structured_output and structured in SIMPLER:
                structured = SIMPLER[structured]
                continue
            if exchange.pause is None or repeated == len(PAUSES):
                return
            pause = max(exchange.pause, PAUSES[repeated])
            if asyncio.get_running_loop().time() + pause >= end:
                return
            await asyncio.sleep(pause)
            repeated += 1


def _client(endpoint: Endpoint, key: str, transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return httpx.AsyncClient(
        headers=headers,
        timeout=httpx.Timeout(endpoint.deadline, connect=min(CONNECT, endpoint.deadline)),
        follow_redirects=False,  # the key is for one host
        trust_env=not endpoint.local,  # a proxy leads out of the machine
        transport=transport,
    )


async def _exchange(client: httpx.AsyncClient, endpoint: Endpoint, body: dict[str, Any], end: float) -> Exchange:
    started = time.monotonic()
    status: int | None = None
    raw = bytearray()
    problem, pause = "", None
    try:
        async with (
            asyncio.timeout_at(end),
            client.stream("POST", f"{endpoint.base_url}/chat/completions", content=canonical(body)) as response,
        ):
            status = response.status_code
            problem, pause = _judged(status, response.headers.get("Retry-After", ""))
            async for chunk in response.aiter_raw():  # not decompressed: a small response stays small
                raw += chunk[: MAX_BYTES - len(raw)]
                if len(raw) == MAX_BYTES:
                    problem = problem or "the response is too large"
                    break
    except TimeoutError:
        problem, pause = _late(endpoint), None
    except httpx.TransportError as error:
        problem, pause = f"{endpoint.host} cannot be reached ({type(error).__name__})", 0.0
    except Exception as error:  # whatever else a server can provoke; its text may hold anything
        problem, pause = f"the exchange failed ({type(error).__name__})", None
    return Exchange(body, status, bytes(raw), time.monotonic() - started, problem, pause)


def _judged(status: int, retry_after: str) -> tuple[str, float | None]:
    """Problem and pause that a status means."""
    if status == httpx.codes.OK:
        return "", None
    busy = status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR
    return f"HTTP status {status}", _seconds(retry_after) if busy else None


def _seconds(text: str) -> float:
    """Value of a Retry-After header; a date, which servers of this kind do not send, counts as no wish."""
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0


def _late(endpoint: Endpoint) -> str:
    return f"no answer within {endpoint.deadline:g} s"
