from __future__ import annotations

from pathlib import Path

import pytest
from questions import KEY, configure

from planning.llm.endpoint import Endpoint, LlmError, configuration, secret

URL = "https://api.deepseek.com"


def refused() -> str:
    with pytest.raises(LlmError) as caught:
        secret(configuration())
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_variables_make_an_endpoint_that_does_not_know_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, f"{URL}/v1/", structured_output="none", deadline=5)
    configured = configuration()
    assert configured.endpoint == Endpoint(f"{URL}/v1", "scripted", "none", 5.0)
    assert configured.endpoint.host == "api.deepseek.com"
    assert secret(configured) == KEY
    for told in (repr(configured), str(configured), configured.model_dump_json(), repr(configured.endpoint)):
        assert KEY not in told
    assert KEY not in str(configured.endpoint.identity)


def test_without_configuration_the_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, "")
    assert "AUTOMAT_LLM_BASE_URL" in refused()


def test_variables_win_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-from-a-file\n")
    (tmp_path / "llm.toml").write_text(f'base_url = "{URL}"\nmodel = "m"\napi_key = "{KEY}"\ndeadline = 7\n')
    configure(monkeypatch, "", model="other", api_key="")
    monkeypatch.setenv("AUTOMAT_LLM_CONFIG", str(tmp_path / "llm.toml"))
    assert (configuration().endpoint, secret(configuration())) == (Endpoint(URL, "other", "json_object", 7.0), KEY)
    monkeypatch.setenv("AUTOMAT_LLM_API_KEY_FILE", str(tmp_path / "key"))
    assert secret(configuration()) == "sk-from-a-file"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://api.deepseek.com", "ALLOW_HTTP"),
        ("http://localhost.evil.example", "ALLOW_HTTP"),
        ("http://127.0.0.1.evil.example", "ALLOW_HTTP"),
        ("ftp://127.0.0.1", "https://"),
        ("api.deepseek.com", "https://"),
        ("https://", "https://"),
        (f"https://user:{KEY}@host", "no user"),
        (f"https://host/v1?key={KEY}", "no user"),
        ("https://ho st:x", "address"),
    ],
)
def test_an_unsafe_address_is_refused(url: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, url)
    assert told in refused()


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/v1", "http://localhost:11434/v1", "http://[::1]:8080/v1"])
def test_a_model_on_this_machine_needs_neither_key_nor_tls(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, url, api_key="")
    configured = configuration()
    assert (configured.endpoint.local, secret(configured)) == (True, "")


def test_plain_http_elsewhere_must_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, "http://llm.lab.example/v1", allow_http=1)
    assert not configuration().endpoint.local


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ({"api_key": ""}, "no key"),
        ({"api_key": f"{KEY}\nHost: evil"}, "one line"),
        ({"api_key": f"{KEY}é"}, "one line"),
        ({"api_key": "", "api_key_file": "/nowhere/key"}, "/nowhere/key"),
        ({"deadline": 0}, "deadline"),
        ({"deadline": "inf"}, "deadline"),
        ({"structured_output": "xml"}, "structured_output"),
        ({"config": "/nowhere/llm.toml"}, "/nowhere/llm.toml"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(
    others: dict[str, object], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, URL, **others)
    message = refused()
    assert told in message
    assert "\n" not in message


@pytest.mark.parametrize("text", [f"api_key = '{KEY}", f"apikey = '{KEY}'", f"api_key = ['{KEY}']"])
def test_a_wrong_file_does_not_show_its_key(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "llm.toml").write_text(text)
    configure(monkeypatch, URL, config=tmp_path / "llm.toml", api_key="")
    refused()
