"""A language model that is none: a small OpenAI-compatible server that chooses by a script.

For tests, and to measure what a planner is worth without paying for one:

    python -m benchmarks.scripted_llm --answer last --port 8808
    AUTOMAT_LLM_BASE_URL=http://127.0.0.1:8808/v1 AUTOMAT_LLM_MODEL=scripted automat reconstruct … --planner llm
"""

from __future__ import annotations

import argparse
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DRIP = 0.05
"""Seconds between the bytes of a slow response."""

BEAT = b"\n"
"""What keeps a connection alive while a busy server lets wait."""

Choice = Callable[[list[str], str], str]
Reply = Callable[["_Handler", list[str]], None]

CHOICES: dict[str, Choice] = {
    "first": lambda legal, _: legal[0],
    "last": lambda legal, _: legal[-2],
    "stop": lambda legal, _: legal[-1],
    "random": lambda legal, question: legal[int(hashlib.sha256(question.encode()).hexdigest(), 16) % len(legal)],
}
"""Which of the legal branches (the last of them is to stop) is chosen, given these and the question."""


def completion(content: str | None, finish_reason: str = "stop") -> bytes:
    """Body of a response that holds an answer."""
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 900, "completion_tokens": 20, "total_tokens": 920}
    return json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}).encode()


def answer(branch: str, reason: str = "scripted") -> str:
    """What a model that does as it is told would write."""
    return json.dumps({"branch": branch, "reason": reason})


def _says(content: Callable[[str], str], finish_reason: str = "stop") -> Reply:
    return lambda handler, legal: handler.send(200, completion(content(legal[0]), finish_reason))


def _fails(status: int, **headers: str) -> Reply:
    body = json.dumps({"error": {"message": f"scripted {status}"}}).encode()
    return lambda handler, _: handler.send(status, body, headers)


def _drips(handler: _Handler, legal: list[str]) -> None:
    body = completion(answer(legal[0]))
    handler.begin(200, len(body))
    for byte in body:
        handler.write(bytes([byte]))
        time.sleep(DRIP)


def _drips_headers(handler: _Handler, _: list[str]) -> None:
    handler.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    for _step in range(10_000):
        handler.write(b"a")
        time.sleep(DRIP)


def _beats(handler: _Handler, legal: list[str]) -> None:
    body = BEAT * 5 + completion(answer(legal[0]))
    handler.begin(200, len(body))
    for start in range(5):
        handler.write(body[start : start + 1])
        time.sleep(DRIP)
    handler.write(body[5:])


def _beats_for_ever(handler: _Handler, _: list[str]) -> None:
    handler.begin(200, 10_000)
    for _step in range(10_000):
        handler.write(BEAT)
        time.sleep(DRIP)


def _oversized(handler: _Handler, _: list[str]) -> None:
    handler.begin(200, 1 << 30)
    for _step in range(1 << 14):
        handler.write(b" " * (1 << 16))


def _echoes(handler: _Handler, legal: list[str]) -> None:
    handler.send(200, completion(answer(legal[0], str(handler.headers.get("Authorization")))))


REPLIES: dict[str, Reply] = {
    "blank": _says(lambda _: "   \n  "),
    "fenced": _says(lambda branch: f"```json\n{answer(branch)}\n```"),
    "truncated": _says(lambda branch: answer(branch)[:-9]),
    "length": _says(answer, "length"),
    "wrong": _says(lambda _: answer("call_the_director")),
    "prose": _says(lambda branch: f"I would take {branch}."),
    "hostile": _says(
        lambda branch: answer(branch, "<script>alert(1)</script>\x1b[31m\u202e" + "[x](javascript:1) " * 50)
    ),
    "extra": _says(lambda branch: json.dumps({"branch": branch, "reason": "", "max_attempts": 99})),
    "garbage": lambda handler, _: handler.send(200, b"\xff\xfe\x00" * 99),
    "nested": lambda handler, _: handler.send(200, b"[" * 100_000),
    "echo": _echoes,
    "400": _fails(400),
    "401": _fails(401),
    "429": _fails(429),
    "429-patient": _fails(429, **{"Retry-After": "3600"}),
    "500": _fails(500),
    "redirect": _fails(307, Location="http://127.0.0.1:9/v1/chat/completions"),
    "drip": _drips,
    "drip-headers": _drips_headers,
    "keep-alive": _beats,
    "keep-alive-for-ever": _beats_for_ever,
    "oversized": _oversized,
}
"""What else may come back: most of it must end in the choice of the rules."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            request = json.loads(body)
            asked = request["messages"][-1]["content"]
            legal = json.loads(asked)["legal"]
        except (ValueError, LookupError, TypeError):
            self.send(400, b'{"error": {"message": "no question of a planner"}}')
            return
        self.server.script.requests.append(request)
        with suppress(OSError):  # whoever asked has gone
            name = self.server.script.next()
            if name in CHOICES:
                self.send(200, completion(answer(CHOICES[name](legal, asked))))
            else:
                REPLIES[name](self, legal)

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.begin(status, len(body), headers)
        self.write(body)

    def begin(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        usual = {"Content-Type": "application/json", "Content-Length": str(length), "Connection": "close"}
        for name, value in {**usual, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def write(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: whoever asks keeps a log."""


@dataclass
class Script:
    """What the server does: an entry of `CHOICES` or `REPLIES` for each request, the last one for all that follow.

    Attributes
    ----------
    answers
        The entries.
    base_url
        Where it listens.
    requests
        Bodies of the questions asked so far.
    """

    answers: list[str]
    base_url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)

    def next(self) -> str:
        """Entry for the request that was just noted."""
        return self.answers[min(len(self.requests), len(self.answers)) - 1]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    script: Script


def _server(answers: list[str], port: int) -> _Server:
    server = _Server(("127.0.0.1", port), _Handler)
    server.script = Script(answers, f"http://127.0.0.1:{server.server_address[1]}/v1")
    return server


@contextmanager
def scripted(*answers: str, port: int = 0) -> Iterator[Script]:
    """Run the server for the time of the context, on a free port unless one is given."""
    server = _server(list(answers), port)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scripted_llm", description="A scripted language model.")
    parser.add_argument("--answer", choices=[*CHOICES, *REPLIES], default="last", help="to every question")
    parser.add_argument("--port", type=int, default=8808)
    arguments = parser.parse_args()
    with _server([arguments.answer], arguments.port) as server:
        print(f"AUTOMAT_LLM_BASE_URL={server.script.base_url} AUTOMAT_LLM_MODEL=scripted", flush=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
