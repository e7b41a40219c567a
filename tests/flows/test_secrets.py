from __future__ import annotations

from pathlib import Path

import pytest

from flows.secrets import SECRETS, SecretError, from_files


def test_a_secret_comes_from_the_file_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "auth").write_text("user:p4ss\n")
    environment = {"PREFECT_API_AUTH_STRING_FILE": str(tmp_path / "auth"), "HOME": "/nowhere"}
    from_files(environment)
    assert environment["PREFECT_API_AUTH_STRING"] == "user:p4ss"
    assert set(environment) == {"PREFECT_API_AUTH_STRING_FILE", "PREFECT_API_AUTH_STRING", "HOME"}


@pytest.mark.parametrize("name", SECRETS)
def test_what_is_set_stays(name: str, tmp_path: Path) -> None:
    environment = {name: "set", f"{name}_FILE": str(tmp_path / "missing")}
    from_files(environment)
    assert environment[name] == "set"


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (None, "No such file"),
        (b"", "one line"),
        (b"a\nhunter2\n", "one line"),
        (b"\xff\xfe", "not text"),
        (b"hunter2" * 999, "one line"),
    ],
)
def test_a_file_that_holds_no_password_is_refused_without_showing_it(
    contents: bytes | None, reason: str, tmp_path: Path
) -> None:
    if contents is not None:
        (tmp_path / "auth").write_bytes(contents)
    with pytest.raises(SecretError, match=reason) as caught:
        from_files({"PREFECT_API_AUTH_STRING_FILE": str(tmp_path / "auth")})
    assert "PREFECT_API_AUTH_STRING_FILE" in str(caught.value)
    assert "hunter2" not in str(caught.value)
