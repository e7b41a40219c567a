"""A web server on this machine that behaves as badly as a test asks it to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Site:
    """Serves ``content`` at any path; the answers in ``script`` come first, one per request."""

    content: bytes = bytes(range(256)) * 3000
    script: list[Answer] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    address: str = ""
    closing: threading.Event = field(default_factory=threading.Event)

    def url(self, name: str = "weights.pth") -> str:
        return f"{self.address}/{name}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.ranges.append(request.headers.get("Range"))
        (self.script.pop(0) if self.script else self.serve)(request)

    def serve(self, request: BaseHTTPRequestHandler, stop: int | None = None) -> None:
        """As a good server does, up to byte ``stop``."""
        start = int((request.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if start >= len(self.content):
            return self.say(416)(request)
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        request.send_header("Content-Length", str(len(self.content) - start))
        request.end_headers()
        request.wfile.write(self.content[start:stop])
        return None

    def cut(self, stop: int) -> Answer:
        """Close the connection in the middle."""
        return lambda request: self.serve(request, stop)

    def stall(self, stop: int) -> Answer:
        """Fall silent in the middle."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            self.serve(request, stop)
            request.wfile.flush()
            self.closing.wait(30)

        return answer

    def whole(self, request: BaseHTTPRequestHandler) -> None:
        """Know nothing of ranges."""
        del request.headers["Range"]
        self.serve(request)

    def say(self, status: int, **headers: str) -> Answer:
        """Answer with a status and no content."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(status)
            for name, value in headers.items():
                request.send_header(name.replace("_", "-"), value)
            request.send_header("Content-Length", "0")
            request.end_headers()

        return answer


@contextmanager
def running() -> Iterator[Site]:
    """Serve on this machine."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site
    finally:
        site.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
