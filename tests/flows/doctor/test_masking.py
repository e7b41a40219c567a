from __future__ import annotations

import pytest

from flows.doctor.masking import masked

URL = "postgresql+asyncpg://automat:p%40ss%2Fword@db:5432/prefect"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (URL, "postgresql+asyncpg://***@db:5432/prefect"),
        ("at http://u:p@ss/w@host:4200/api now", "at http://***@host:4200/api now"),
        ("at http://host:4200/api now", "at http://host:4200/api now"),
        ("the password is p@ss/word", "the password is ***"),
        ("sqlite+aiosqlite:////data/prefect.db", "sqlite+aiosqlite:////data/prefect.db"),
        ("key sk-123456", "key ***"),
    ],
)
def test_secrets_and_users_in_addresses_are_hidden(text: str, told: str) -> None:
    environment = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": URL, "AUTOMAT_LLM_API_KEY": " sk-123456\n"}
    assert masked(text, environment) == told


def test_a_very_short_secret_does_not_tear_words_apart() -> None:
    assert masked("a cat", {"PREFECT_API_AUTH_STRING": "a:a"}) == "a cat"
