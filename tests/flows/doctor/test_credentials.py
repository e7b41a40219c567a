from __future__ import annotations

from pathlib import Path

import pytest

from flows.doctor import credentials
from flows.doctor.credentials import language_model, secret_files
from flows.doctor.finding import State

VARIABLE = "PREFECT_API_AUTH_STRING_FILE"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "auth"
    path.write_text("admin:hunter22\n")
    path.chmod(0o600)
    return path


def test_no_file_is_nothing_to_look_at() -> None:
    assert secret_files({}).state is State.SKIPPED


@pytest.mark.parametrize("name", credentials.SECRETS)
def test_a_file_of_ones_own_is_fine(name: str, file: Path) -> None:
    assert secret_files({f"{name}_FILE": str(file)}).state is State.OK


def test_a_file_that_all_can_read_is_broken_unless_a_container_engine_put_it_there(file: Path) -> None:
    file.chmod(0o640)  # a group of administrators may
    assert secret_files({VARIABLE: str(file)}).state is State.OK
    file.chmod(0o644)
    found = secret_files({VARIABLE: str(file)})
    assert found.state is State.BROKEN
    assert f"chmod 600 {file}" in found.remedy
    assert "hunter22" not in repr(found)
    assert secret_files({VARIABLE: str(file)}, mounted=file.parent).state is State.OK


def test_a_file_that_is_missing_or_empty_is_broken(file: Path) -> None:
    file.write_text("\n")
    assert "is empty" in secret_files({VARIABLE: str(file)}).text
    file.unlink()
    found = secret_files({VARIABLE: str(file)})
    assert "No such file" in found.text
    assert VARIABLE in found.text


def test_a_language_model_is_judged_without_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert language_model({}).state is State.OK
    settings = {"AUTOMAT_LLM_BASE_URL": "https://llm.lab/v1", "AUTOMAT_LLM_MODEL": "small"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    found = language_model()
    assert found.state is State.BROKEN
    assert "AUTOMAT_LLM_API_KEY" in found.text
    monkeypatch.setenv("AUTOMAT_LLM_API_KEY", "sk-123456")
    found = language_model()
    assert found.state is State.OK
    assert "small at llm.lab" in found.text
    assert "sk-123456" not in repr(found)
    monkeypatch.setenv("AUTOMAT_LLM_BASE_URL", "http://llm.lab/v1")
    assert language_model().state is State.BROKEN
