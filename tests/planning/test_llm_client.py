from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from questions import KEY, OPTIONS, SITUATION, TRIED, UNFIT

from benchmarks.scripted_llm import completion, scripted
from planning.llm import client
from planning.llm.client import Exchange, ask, request_body
from planning.llm.endpoint import Endpoint, StructuredOutput
from planning.llm.log import outcome
from planning.llm.question import question
from planning.records import Branch

MESSAGES = question(UNFIT, TRIED, SITUATION, OPTIONS)
DEEPSEEK = Endpoint("https://api.deepseek.com", "deepseek-v4", deadline=5.0)
GOOD = completion('{"branch": "template_free", "reason": "because"}')
UNAVAILABLE = b'{"error": {"message": "This response_format type is unavailable now"}}'


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAUSES", (0.0, 0.0))


class Server:
    """Answers from a list; an exception is raised, not returned."""

    def __init__(self, *replies: httpx.Response | Exception) -> None:
        self.replies = iter(replies)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        reply = next(self.replies)
        if isinstance(reply, Exception):
            raise reply
        return reply


def asked(*replies: httpx.Response | Exception, endpoint: Endpoint = DEEPSEEK) -> tuple[list[Exchange], Server]:
    server = Server(*replies)
    exchanges = ask(endpoint, KEY, MESSAGES, OPTIONS, httpx.MockTransport(server))
    assert len(exchanges) == len(server.requests)
    return exchanges, server


def reply(status: int = 200, content: bytes = GOOD, **headers: str) -> httpx.Response:
    return httpx.Response(status, stream=httpx.ByteStream(content), headers=headers)


def test_one_request_carries_the_question_and_the_key_in_its_header_alone() -> None:
    exchanges, server = asked(reply())
    request = server.requests[0]
    assert str(request.url) == "https://api.deepseek.com/chat/completions"
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert KEY.encode() not in request.content
    assert json.loads(request.content) == exchanges[0].body
    assert outcome(exchanges, OPTIONS).branch is Branch.TEMPLATE_FREE


def test_a_model_without_key_is_sent_none() -> None:
    server = Server(reply())
    ask(DEEPSEEK, "", MESSAGES, OPTIONS, httpx.MockTransport(server))
    assert "Authorization" not in server.requests[0].headers


@pytest.mark.parametrize(
    ("host", "structured", "keys"),
    [
        ("api.deepseek.com", "json_object", {"max_tokens", "response_format", "thinking"}),
        ("api.openai.com", "json_schema", {"max_completion_tokens", "response_format"}),
        ("notdeepseek.com", "none", {"max_tokens"}),
    ],
)
def test_each_endpoint_is_asked_in_its_own_way(host: str, structured: StructuredOutput, keys: set[str]) -> None:
    body = request_body(Endpoint(f"https://{host}/v1", "m"), structured, MESSAGES, OPTIONS)
    assert body.keys() == {"model", "messages", "stream"} | keys
    if structured == "json_schema":
        schema = body["response_format"]["json_schema"]["schema"]
        assert schema["properties"]["branch"]["enum"] == list(OPTIONS)


@pytest.mark.parametrize(
    ("first", "second"), [("json_schema", {"type": "json_object"}), ("json_object", None), ("none", "not asked again")]
)
def test_a_refused_way_to_ask_for_json_is_simplified_once(first: StructuredOutput, second: object) -> None:
    endpoint = Endpoint(DEEPSEEK.base_url, "m", first)
    exchanges, server = asked(reply(400, UNAVAILABLE), reply(400, UNAVAILABLE), endpoint=endpoint)
    if first == "none":
        assert len(server.requests) == 1
    else:
        assert len(server.requests) == 2
        assert json.loads(server.requests[1].content).get("response_format") == second
    assert exchanges[-1].problem == "HTTP status 400"


@pytest.mark.parametrize("status", [301, 307, 400, 401, 402, 403, 404, 422])
def test_what_asking_again_cannot_mend_is_asked_once(status: int) -> None:
    exchanges, _ = asked(reply(status, Location="https://evil.example/"))
    assert [each.problem for each in exchanges] == [f"HTTP status {status}"]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 529])
def test_a_busy_server_is_asked_three_times(status: int) -> None:
    exchanges, _ = asked(*[reply(status) for _ in range(3)])
    assert {each.problem for each in exchanges} == {f"HTTP status {status}"}
    exchanges, _ = asked(reply(status), reply())
    assert outcome(exchanges, OPTIONS).branch is Branch.TEMPLATE_FREE


@pytest.mark.parametrize("error", [httpx.ConnectError("no"), httpx.ReadError("no"), httpx.RemoteProtocolError("no")])
def test_a_broken_connection_is_tried_three_times(error: Exception) -> None:
    exchanges, _ = asked(error, error, error)
    assert exchanges[-1].problem == f"api.deepseek.com cannot be reached ({type(error).__name__})"


def test_an_unexpected_error_does_not_show_its_text() -> None:
    exchanges, _ = asked(RuntimeError(f"Bearer {KEY}"))
    assert [each.problem for each in exchanges] == ["the exchange failed (RuntimeError)"]


@pytest.mark.parametrize("wish", ["3600", "1e999", "99999999999999999999"])
def test_a_server_that_wants_a_longer_pause_than_there_is_time_is_not_waited_for(wish: str) -> None:
    started = time.monotonic()
    exchanges, _ = asked(*[reply(429, **{"Retry-After": wish}) for _ in range(3)])
    assert len(exchanges) == (3 if wish == "1e999" else 1)  # infinity is no wish
    assert time.monotonic() - started < DEEPSEEK.deadline


@pytest.mark.parametrize("wish", ["0", "-5", "nan", "soon", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_pause_that_is_no_number_of_seconds_is_ours(wish: str) -> None:
    exchanges, _ = asked(reply(503, **{"Retry-After": wish}), reply())
    assert len(exchanges) == 2


def test_a_large_response_is_not_read_to_its_end() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b" " * 65536

    class Stream(httpx.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]
            for chunk in endless():
                yield chunk

    exchanges, _ = asked(httpx.Response(200, stream=Stream()))
    assert len(exchanges[0].raw) == client.MAX_BYTES
    assert exchanges[0].problem == "the response is too large"


def test_a_compressed_response_is_not_unpacked() -> None:
    class Stream(httpx.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]
            yield b"\x1f\x8b\x08 not really"

    exchanges, _ = asked(httpx.Response(200, stream=Stream(), headers={"Content-Encoding": "gzip"}))
    assert outcome(exchanges, OPTIONS).branch is None


@given(st.integers(100, 599), st.binary(max_size=300) | st.just(UNAVAILABLE))
@settings(max_examples=40, deadline=None)
def test_whatever_is_answered_nothing_is_raised(status: int, content: bytes) -> None:
    transport = httpx.MockTransport(lambda _: reply(status, content))
    found = outcome(ask(DEEPSEEK, KEY, MESSAGES, OPTIONS, transport), OPTIONS)
    assert (found.branch is None) == (found.problem != "")


def real(name: str, deadline: float) -> tuple[list[Exchange], float]:
    with scripted(name) as script:
        started = time.monotonic()
        exchanges = ask(Endpoint(script.base_url, "m", deadline=deadline), KEY, MESSAGES, OPTIONS)
        return exchanges, time.monotonic() - started


@pytest.mark.parametrize("name", ["drip", "drip-headers", "keep-alive-for-ever"])
def test_a_server_that_never_stops_sending_cannot_stretch_the_deadline(name: str) -> None:
    exchanges, seconds = real(name, 0.3)
    assert [each.problem for each in exchanges] == ["no answer within 0.3 s"]
    assert seconds < 0.3 + client.GRACE


def test_blank_lines_that_keep_a_connection_alive_are_waited_out() -> None:
    exchanges, _ = real("keep-alive", 5.0)
    assert outcome(exchanges, OPTIONS).branch is Branch.SUBSTITUTE


def test_a_gigabyte_is_cut_short() -> None:
    exchanges, _ = real("oversized", 5.0)
    assert [each.problem for each in exchanges] == ["the response is too large"]


def test_nobody_listening_is_no_error() -> None:
    with scripted("first") as script:
        url = script.base_url
    exchanges = ask(Endpoint(url, "m", deadline=5.0), KEY, MESSAGES, OPTIONS)
    assert len(exchanges) == 3
    assert "cannot be reached" in exchanges[-1].problem


def test_what_cannot_be_cancelled_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    async def hang(*_: object) -> None:
        released.wait(10.0)  # blocks the loop, as a name server blocks its thread

    monkeypatch.setattr(client, "GRACE", 0.1)
    monkeypatch.setattr(client, "_converse", hang)
    exchanges = ask(Endpoint("https://api.deepseek.com", "m", deadline=0.1), KEY, MESSAGES, OPTIONS)
    assert [each.problem for each in exchanges] == ["no answer within 0.1 s"]
    released.set()


def test_a_client_that_cannot_be_made_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "gopher://proxy")
    exchanges = ask(DEEPSEEK, KEY, MESSAGES, OPTIONS)
    assert [each.problem for each in exchanges] == ["no request could be made (ValueError)"]
