"""No secret leaves the examination, whichever check met it: every text passes here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

from flows.doctor.credentials import SECRETS

HIDDEN = "***"

SHORTEST = 4
"""Characters; hiding a shorter value would tear ordinary words apart, and it protects nothing."""

_USER = re.compile(r"(?<=://)\S*@")
"""User and password in an address; a password with an @ in it is hidden to its end."""

_PASSWORD = re.compile(r"://[^:/\s]*:(\S*)@")


def masked(text: str, environment: Mapping[str, str]) -> str:
    """Hide what the environment holds as a secret, and any user with a password in an address."""
    text = _USER.sub(f"{HIDDEN}@", text)
    values = {value for name in SECRETS for value in _values(environment.get(name, "").strip())}
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= SHORTEST:
            text = text.replace(value, HIDDEN)
    return text


def _values(secret: str) -> Iterator[str]:
    """Yield a secret and the password in it."""
    yield secret
    if "://" not in secret:
        yield secret.partition(":")[2]
    for password in _PASSWORD.findall(secret):
        yield password
        yield unquote(password)
