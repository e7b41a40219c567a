"""Passwords from files: ``NAME_FILE`` stands for ``NAME``, so that none is on a command line or in a compose file."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

from microscopy.errors import AutoMatError

SECRETS = (
    "PREFECT_API_AUTH_STRING",
    "PREFECT_SERVER_API_AUTH_STRING",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
)
"""Variables that may come from a file; the key of a language model has ``AUTOMAT_LLM_API_KEY_FILE`` of its own."""

SUFFIX = "_FILE"

MAX_BYTES = 4096
"""Of a file with a secret: more is another file."""


class SecretError(AutoMatError):
    """A file that should hold a password cannot be used."""

    stage = "settings"


def from_files(environment: MutableMapping[str, str] | None = None) -> None:
    """Set each secret that a file is named for; one that is set already stays.

    Raises
    ------
    SecretError
        If a file cannot be read, is empty or too large. Its contents are in no message.
    """
    environment = os.environ if environment is None else environment
    for name in SECRETS:
        path = environment.get(name + SUFFIX, "").strip()
        if path and not environment.get(name):
            environment[name] = read(Path(path), name + SUFFIX)


def read(path: Path, named_by: str) -> str:
    """First line of a file.

    Raises
    ------
    SecretError
        If there is none.
    """
    try:
        with path.expanduser().open("rb") as file:
            contents = file.read(MAX_BYTES + 1)
        text = contents.decode().strip()
    except OSError as error:
        raise SecretError(f"{named_by}: {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SecretError(f"{named_by}: {path} is not text") from error
    if not text or "\n" in text or len(contents) > MAX_BYTES:
        raise SecretError(f"{named_by}: {path} must hold one line, the password, and nothing else")
    return text
