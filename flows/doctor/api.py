"""Prefect's API over plain HTTP: answers of any version can be looked at, and no import of Prefect is waited for."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import httpx

from microscopy.errors import AutoMatError

URL = "PREFECT_API_URL"
AUTH = "PREFECT_API_AUTH_STRING"
KEY = "PREFECT_API_KEY"
CERTIFICATES = "PREFECT_API_SSL_CERT_FILE"

TIMEOUT = httpx.Timeout(4.0, connect=3.0)

PAGE = 200
"""Rows that Prefect gives at most."""


class ApiError(AutoMatError):
    """The server gave no usable answer; ``status`` is that of HTTP, 0 if there was none."""

    stage = "orchestration"

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """A server's API.

    Parameters
    ----------
    environment
        Where its address and the credentials are.
    transport
        Of the requests; the network if None.
    """

    def __init__(
        self, environment: Mapping[str, str] = os.environ, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url = environment.get(URL, "").strip().rstrip("/")
        user, _, password = environment.get(AUTH, "").partition(":")
        self._auth = httpx.BasicAuth(user, password) if user else None
        self._certificates = environment.get(CERTIFICATES)
        self._transport = transport

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    @cached_property
    def _client(self) -> httpx.Client:
        verify = ssl.create_default_context(cafile=self._certificates) if self._certificates else True
        return httpx.Client(timeout=TIMEOUT, transport=self._transport, verify=verify)

    @property
    def host(self) -> str:
        """Host of the server."""
        return httpx.URL(self.url).host

    def get(self, path: str) -> Any:
        """Ask for something; `ApiError` if it cannot be had."""
        return _content(self._send("GET", path))

    def rows(self, path: str, query: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Ask for all that fits a filter, as far as one page goes; `ApiError` if it cannot be had."""
        found = _content(self._send("POST", path, {"limit": PAGE, **(query or {})}))
        if not isinstance(found, list):
            raise ApiError(f"{self.url} answers {path} with something that is no list")
        return found

    def count(self, path: str, query: Mapping[str, Any]) -> int:
        """Ask how many there are; `ApiError` if it cannot be had."""
        found = _content(self._send("POST", path, query))
        return int(found["total"] if isinstance(found, dict) else found)

    def anonymous(self, url: str | None = None) -> bool:
        """Whether the server answers somebody without credentials; at another address of it, if one is given."""
        try:
            return self._client.get(f"{url or self.url}/admin/version").status_code == 200
        except httpx.HTTPError:
            return False

    def health(self) -> httpx.Response:
        """Ask whether it is there, which needs no credentials; `ApiError` if it is not."""
        return self._send("GET", "/health")

    def _send(self, method: str, path: str, body: Any = None) -> httpx.Response:
        try:
            answer = self._client.request(method, f"{self.url}{path}", json=body, auth=self._auth)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise ApiError(f"{self.url} does not answer ({str(error) or type(error).__name__})") from error
        except OSError as error:
            raise ApiError(f"{CERTIFICATES}={self._certificates}: cannot be used ({error})") from error
        if answer.status_code >= 400:
            raise ApiError(f"{self.url} answers {answer.status_code} to {path}", answer.status_code)
        return answer


def _content(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError as error:
        url = answer.request.url
        raise ApiError(f"{url} does not answer with JSON: is this the address of Prefect's API?") from error
