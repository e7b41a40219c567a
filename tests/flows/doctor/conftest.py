from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest

from flows.doctor.api import Api

Answers = Mapping[str, Any]


@pytest.fixture
def answering() -> Callable[..., Api]:
    """Make an API that answers paths with values; an answer may be a response, or a function of the request."""

    def make(answers: Answers, url: str = "http://127.0.0.1:4200/api", auth: str = "", **more: str) -> Api:
        def answer(request: httpx.Request) -> httpx.Response:
            found = answers.get(request.url.path.removeprefix("/api"), httpx.Response(404, json={"detail": "no"}))
            found = found(request) if callable(found) else found
            return found if isinstance(found, httpx.Response) else httpx.Response(200, text=json.dumps(found))

        return Api({"PREFECT_API_URL": url, "PREFECT_API_AUTH_STRING": auth, **more}, httpx.MockTransport(answer))

    return make
