"""JSON pages of public servers, read politely, patiently, and so that a second start goes on where the first ended."""

from __future__ import annotations

import gzip
import json
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx

from library.sources.entry import brief, printable
from microscopy.errors import LibraryError
from microscopy.retrying import retry_after

MAX_PAGE = 64 * 2**20
"""Bytes of one page, after decompression."""

MAX_PAGES = 20_000

KEEP = 7 * 86400
"""Seconds for which fetched pages are used again; older ones are fetched anew."""

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP status codes that may pass."""

Page = dict[str, Any]


@dataclass(frozen=True)
class Manners:
    """How a server is asked.

    Attributes
    ----------
    interval
        Seconds between two requests, at least.
    attempts
        Requests for one page before giving up.
    back_off
        Seconds before the second attempt; doubled for each further one. A server's Retry-After counts if longer.
    timeout
        Seconds without an answer that end an attempt; a whole page may take ten times as long.
    patience
        Seconds that one page may take, waiting included.
    """

    interval: float = 1.0
    attempts: int = 6
    back_off: float = 2.0
    timeout: float = 30.0
    patience: float = 900.0


class _PassingError(Exception):
    """A failure that may pass; ``wait`` is what the server asked for, in seconds."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class StatusError(LibraryError):
    """A server refused; ``status`` is its HTTP code."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Web:
    """A polite client. Redirects are followed unless secret headers would travel along.

    Parameters
    ----------
    manners
        See `Manners`.
    secret
        Headers that belong to the first server alone.
    """

    def __init__(self, manners: Manners, secret: dict[str, str] | None = None) -> None:
        self.manners = manners
        self._last = 0.0
        self._client = httpx.Client(
            headers={"User-Agent": "AutoMat", "Accept": "application/json", **(secret or {})},
            timeout=manners.timeout,
            follow_redirects=not secret,
        )

    def __enter__(self) -> Web:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, url: str, check: Callable[[Page], None] = lambda page: None) -> Page:
        """JSON object at an address.

        Parameters
        ----------
        url
            http or https.
        check
            Raises ValueError if the object is not what was asked for; then it is asked for again.

        Raises
        ------
        StatusError
            If the server refuses the request.
        LibraryError
            If the server cannot be reached or sends nothing usable within the attempts and the patience.
        """
        host = printable(urlsplit(url).netloc)
        began, problem = time.monotonic(), ""
        for number in range(self.manners.attempts):
            try:
                return self._attempt(url, check)
            except _PassingError as error:
                wait = max(self.manners.back_off * 2**number, error.wait)
                problem = str(error)
            if time.monotonic() - began + wait > self.manners.patience:
                problem += f"; asked to wait {wait:.0f} s"
                break
            if number + 1 < self.manners.attempts:
                time.sleep(wait)
        raise LibraryError(f"{host}: {problem}; start again later, complete pages are kept")

    def _attempt(self, url: str, check: Callable[[Page], None]) -> Page:
        time.sleep(max(0.0, self._last + self.manners.interval - time.monotonic()))
        self._last = time.monotonic()
        try:
            with self._client.stream("GET", url) as response:
                if response.status_code in TRANSIENT:
                    raise _PassingError(
                        f"HTTP {response.status_code}", retry_after(response.headers.get("Retry-After"))
                    )
                body = self._body(response)
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _PassingError(brief(error)) from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise LibraryError(f"{printable(url)}: {brief(error)}") from error
        if not response.is_success:
            raise StatusError(f"{printable(url)}: HTTP {response.status_code}{_reason(body)}", response.status_code)
        try:
            page = json.loads(body)
            if not isinstance(page, dict):
                raise ValueError("no JSON object")
            check(page)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise _PassingError(f"a malformed page ({brief(error)})") from error
        return page

    def _body(self, response: httpx.Response) -> bytes:
        body, began = bytearray(), time.monotonic()
        for piece in response.iter_bytes(65536):
            body += piece
            if len(body) > MAX_PAGE:
                raise LibraryError(f"{printable(str(response.url))}: a page of more than {MAX_PAGE} bytes")
            if time.monotonic() - began > 10 * self.manners.timeout:
                raise _PassingError("the page comes too slowly")
        return bytes(body)


def _reason(body: bytes) -> str:
    """What a server says of its refusal: OPTIMADE's ``errors``, FastAPI's ``detail`` or ``message``."""
    try:
        page = json.loads(body)
        errors = page.get("errors") or [{}]
        text = errors[0].get("detail") or errors[0].get("title") or page.get("detail") or page.get("message") or ""
    except (ValueError, AttributeError, LookupError, TypeError, RecursionError):
        return ""
    return f" ({printable(str(text))})" if text else ""


def pages(
    web: Web,
    first: str,
    follow: Callable[[str, Page], str | None],
    check: Callable[[Page], None],
    folder: Path,
) -> Iterator[Page]:
    """Pages of a query, each kept in a folder once it is complete.

    Parameters
    ----------
    web
        The client.
    first
        Address of the first page.
    follow
        Address of the page after this one, None at the end.
    check
        Raises ValueError for a malformed page.
    folder
        Where pages are kept: a later call with this folder reads them from there and fetches the rest.

    Raises
    ------
    LibraryError
        If a page cannot be had, pages go round in a circle, or the folder cannot be written.
    """
    _forget_old(folder)
    url: str | None = first
    seen: set[str] = set()
    while url is not None:
        if url in seen or len(seen) >= MAX_PAGES:
            raise LibraryError(f"{printable(url)}: the pages go round in a circle or never end")
        path = folder / f"{len(seen):05d}.json.gz"
        seen.add(url)
        page = _kept(path, url, check)
        if page is None:
            page = web.get(url, check)
            _keep(path, url, page)
        yield page
        url = follow(url, page)


def _forget_old(folder: Path) -> None:
    first = folder / "00000.json.gz"
    if first.exists() and time.time() - first.stat().st_mtime > KEEP:
        shutil.rmtree(folder, ignore_errors=True)


def _kept(path: Path, url: str, check: Callable[[Page], None]) -> Page | None:
    try:
        with gzip.open(path, "rb") as stream:
            kept = json.loads(stream.read(2 * MAX_PAGE))
        if kept["url"] != url:
            return None
        check(kept["page"])
        return dict(kept["page"])
    except (OSError, EOFError, zlib.error, ValueError, TypeError, KeyError, AttributeError):
        return None


def _keep(path: Path, url: str, page: Page) -> None:
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(partial, "wb", compresslevel=3) as stream:
            stream.write(json.dumps({"url": url, "page": page}).encode())
        partial.replace(path)
    except OSError as error:
        raise LibraryError(f"{path.parent}: fetched pages cannot be kept ({error})") from error
