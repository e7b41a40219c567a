from __future__ import annotations

from email.utils import formatdate
from typing import Any

import httpx
import pytest

from flows.doctor import server
from flows.doctor.api import Api, ApiError

NOW = 1_800_000_000.0

WELL: dict[str, Any] = {"/health": True, "/admin/version": "3.8.8"}


def test_without_a_server_there_is_nothing_to_look_at() -> None:
    found = server.connection(Api({}))
    assert found.state == "skipped"
    assert found.text.startswith("no server is set")


def test_a_server_that_answers_is_well(answering) -> None:
    assert server.connection(answering(WELL), {}).state == "ok"


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({}, "answers 404 to /health"),
        ({"/health": httpx.Response(502, text="bad gateway")}, "answers 502 to /health"),
        ({**WELL, "/admin/version": httpx.Response(200, text="<html>")}, "does not answer with JSON"),
    ],
)
def test_what_is_no_prefect_server_is_broken(answers: dict, told: str, answering) -> None:
    found = server.connection(answering(answers), {})
    assert found.state == "broken"
    assert told in found.text
    assert "automat serve" in found.remedy


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/api", "nonsense", "ftp://host", "http://[::1", "http://a b"])
def test_an_address_at_which_nothing_is_is_broken(url: str) -> None:
    found = server.connection(Api({"PREFECT_API_URL": url}), {})
    assert found.state == "broken"
    assert url in found.text


def test_certificates_that_cannot_be_read_are_one_finding(tmp_path) -> None:
    api = Api({"PREFECT_API_URL": "https://lab/api", "PREFECT_API_SSL_CERT_FILE": str(tmp_path / "missing.pem")})
    found = server.connection(api, {})
    assert found.state == "broken"
    assert "missing.pem: cannot be used" in found.text


def test_a_server_that_hangs_is_broken(answering) -> None:
    def hang(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("timed out")

    assert "timed out" in server.connection(answering({"/health": hang}), {}).text


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "asks for a user and a password"),
        ({"PREFECT_API_AUTH_STRING": "admin:wrong-one"}, "refuses the given user and password"),
        ({"PREFECT_API_KEY": "pnu_123456"}, "PREFECT_API_KEY, which wins"),
    ],
)
def test_a_refused_user_is_told_what_to_set(environment: dict[str, str], told: str, answering) -> None:
    api = answering({**WELL, "/admin/version": httpx.Response(401, json={})})
    found = server.connection(api, environment)
    assert found.state == "broken"
    assert told in found.text
    assert "wrong-one" not in repr(found)


def test_the_given_user_and_password_are_sent(answering) -> None:
    def check(request: httpx.Request) -> httpx.Response:
        wanted = httpx.BasicAuth("admin", "pass:word")
        expected = next(wanted.auth_flow(httpx.Request("GET", "http://x")))
        right = request.headers.get("Authorization") == expected.headers["Authorization"]
        return httpx.Response(200 if right else 401, json="3.8.8")

    api = answering({**WELL, "/admin/version": check}, auth="admin:pass:word")
    assert server.connection(api, {}).state == "ok"
    assert server.authentication(api).text == "on"


@pytest.mark.parametrize(
    ("there", "here", "state"),
    [
        ("3.8.8", "3.8.8", "ok"),
        ("3.8.9", "3.8.8", "warning"),
        ("3.9.0", "3.8.8", "warning"),
        ("3.8.4", "3.8.8", "warning"),
        ("3.7.0", "3.8.8", "broken"),
        ("2.20.0", "3.8.8", "broken"),
        ("4.0.0", "3.8.8", "broken"),
        ("latest", "3.8.8", "warning"),
        (None, "3.8.8", "warning"),
    ],
)
def test_a_server_may_be_newer_than_its_clients(there: str | None, here: str, state: str, answering) -> None:
    assert server.version(answering({"/admin/version": there}), here).state == state


def test_a_server_on_the_network_without_a_password_is_broken(answering) -> None:
    found = server.authentication(answering(WELL, url="http://lab.example:4200/api"))
    assert found.state == "broken"
    assert "lab.example" in found.text
    assert "PREFECT_SERVER_API_AUTH_STRING_FILE" in found.remedy


@pytest.mark.parametrize("url", ["http://127.0.0.1:4200/api", "http://localhost:4200/api", "http://[::1]:4200/api"])
def test_a_server_on_this_machine_may_be_open_if_the_network_does_not_reach_it(url: str, answering) -> None:
    def local_only(request: httpx.Request) -> httpx.Response:
        if request.url.host == "192.168.1.5":
            raise httpx.ConnectError("refused")
        return httpx.Response(200, json="3.8.8")

    assert server.authentication(answering({"/admin/version": local_only}, url), lambda: None).state == "ok"
    assert server.authentication(answering({"/admin/version": local_only}, url), lambda: "192.168.1.5").state == "ok"
    found = server.authentication(answering(WELL, url), lambda: "192.168.1.5")
    assert found.state == "broken"
    assert "192.168.1.5" in found.text


def settings(**database: Any) -> dict[str, Any]:
    return {"server": {"database": database, "services": {"triggers": {"enabled": True}}}}


def workers(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "status": "ONLINE"} for name in names]


@pytest.mark.parametrize(
    ("driver", "url", "flow", "gpu", "state"),
    [
        ("postgresql+asyncpg", "", ["a"], ["b"], "ok"),
        (None, "postgresql+asyncpg://u:p@db/x", ["a"], ["b"], "ok"),
        ("sqlite+aiosqlite", "", ["a"], ["a"], "ok"),
        ("sqlite+aiosqlite", "", ["a"], ["b"], "warning"),
        (None, "sqlite+aiosqlite:////x.db", ["a", "b"], [], "warning"),
        (None, "", ["a"], ["b"], "skipped"),
    ],
)
def test_sqlite_is_for_one_worker(
    driver: str | None, url: str, flow: list[str], gpu: list[str], state: str, answering
) -> None:
    offline = {"name": "c", "status": "OFFLINE"}
    api = answering(
        {
            "/admin/settings": settings(driver=driver, connection_url="**********"),
            "/work_pools/filter": [{"name": "automat-flow"}, {"name": "automat-gpu"}],
            "/work_pools/automat-flow/workers/filter": [*workers(*flow), offline],
            "/work_pools/automat-gpu/workers/filter": workers(*gpu),
        }
    )
    found = server.database(api, {"PREFECT_SERVER_DATABASE_CONNECTION_URL": url})
    assert found.state == state
    assert "u:p" not in repr(found)


def test_services_that_are_off_are_broken(answering) -> None:
    assert server.services(answering({"/admin/settings": settings()})).state == "ok"
    off = {"server": {"services": {"triggers": {"enabled": False}, "scheduler": {"enabled": True}}}}
    found = server.services(answering({"/admin/settings": off}))
    assert found.state == "broken"
    assert found.text.endswith("triggers")


@pytest.mark.parametrize("content", [None, [], "x", {"server": None}])
def test_settings_of_another_shape_say_nothing(content: Any, answering) -> None:
    api = answering({"/admin/settings": content})
    assert server.services(api).state == "skipped"
    assert server.database(api, {}).state == "skipped"


@pytest.mark.parametrize(("ahead", "state"), [(0, "ok"), (20, "ok"), (100, "broken"), (-3600, "broken")])
def test_the_clocks_are_compared(ahead: float, state: str, answering) -> None:
    api = answering({"/health": httpx.Response(200, json=True, headers={"date": formatdate(NOW, usegmt=True)})})
    found = server.clock(api, lambda: NOW + ahead)
    assert found.state == state
    assert state == "ok" or ("ahead" in found.text) is (ahead > 0)


def test_a_server_that_does_not_tell_the_time_is_not_judged(answering) -> None:
    assert server.clock(answering(WELL)).state == "skipped"


def test_answers_of_another_shape_are_one_error(answering) -> None:
    with pytest.raises(ApiError, match="no list"):
        answering({"/work_pools/filter": {}}).rows("/work_pools/filter")
