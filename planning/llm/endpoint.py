"""Which language model is asked: from environment variables or a TOML file, never from anywhere else.

``AUTOMAT_LLM_<FIELD>`` sets a field of `Configuration`; ``AUTOMAT_LLM_CONFIG`` names a TOML file with the same fields,
which the variables win over. The key is read again whenever a question is asked and is part of no other record.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from microscopy.errors import AutoMatError
from microscopy.hosts import is_loopback

PREFIX = "AUTOMAT_LLM_"
CONFIG = f"{PREFIX}CONFIG"

KEYS = ("api_key", "api_key_file")

MAX_KEY = 4096
"""Bytes of a key file: more is another file."""

StructuredOutput = Literal["json_schema", "json_object", "none"]


class LlmError(AutoMatError):
    """The language model is not, or wrongly, configured."""

    stage = "plan"


@dataclass(frozen=True)
class Endpoint:
    """What is asked and how; holds no secret.

    Attributes
    ----------
    base_url
        Address up to and without ``/chat/completions``.
    model
        Name of the model there.
    structured_output
        How the endpoint is told to answer in JSON.
    deadline
        Seconds for one decision, repetitions included.
    """

    base_url: str
    model: str
    structured_output: StructuredOutput = "json_object"
    deadline: float = 30.0

    @property
    def host(self) -> str:
        """Host, with its port unless that is the usual one."""
        return httpx.URL(self.base_url).netloc.decode("ascii")

    @property
    def identity(self) -> list[str]:
        """What a cache key sees: who answers, and in which form."""
        return [self.base_url, self.model, self.structured_output]

    @property
    def local(self) -> bool:
        """Whether the model runs on this machine."""
        return is_loopback(httpx.URL(self.base_url).host)


class Configuration(BaseModel):
    """Everything that can be set."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, str_strip_whitespace=True)

    base_url: str
    model: str = Field(min_length=1)
    api_key: SecretStr | None = None
    api_key_file: Path | None = None
    structured_output: StructuredOutput = "json_object"
    deadline: float = Field(default=30.0, gt=0, le=300)
    allow_http: bool = False
    log: Path | None = None

    @field_validator("base_url")
    @classmethod
    def _plain(cls, text: str) -> str:
        try:
            url = httpx.URL(text)
        except httpx.InvalidURL:
            raise ValueError("is no address") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError("must begin with https:// and name a host")
        if url.userinfo or url.query or url.fragment:
            raise ValueError("must hold no user, password, query or fragment")
        return text.rstrip("/").removesuffix("/chat/completions")

    @property
    def endpoint(self) -> Endpoint:
        """The part without secrets."""
        return Endpoint(self.base_url, self.model, self.structured_output, self.deadline)


def configuration() -> Configuration:
    """Read the configuration.

    Raises
    ------
    LlmError
        If there is none, or it cannot be used; the message holds names, never values.
    """
    found = _environment()
    path = os.environ.get(CONFIG)
    if path:
        found = _layered(_file(Path(path).expanduser()), found)
    if not {"base_url", "model"} <= found.keys():
        raise LlmError(
            f"no language model is configured: set {PREFIX}BASE_URL and {PREFIX}MODEL, or name a TOML file "
            f"with base_url and model in {CONFIG}"
        )
    try:
        configured = Configuration.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise LlmError(f"language model: {name}: {first['msg'].removeprefix('Value error, ')}") from None
    endpoint = configured.endpoint
    if endpoint.base_url.startswith("http:") and not (endpoint.local or configured.allow_http):
        raise LlmError(
            f"language model: base_url: http:// to {endpoint.host} would send the key readable by anyone on the way; "
            f"use https://, or set {PREFIX}ALLOW_HTTP=1"
        )
    return configured


def secret(configured: Configuration) -> str:
    """The key; empty for a model on this machine that needs none.

    Raises
    ------
    LlmError
        If there is none, it cannot be read, or it cannot be sent.
    """
    key = ""
    if configured.api_key is not None:
        key = configured.api_key.get_secret_value().strip()
    elif configured.api_key_file is not None:
        path = configured.api_key_file.expanduser()
        try:
            with path.open("rb") as file:
                key = file.read(MAX_KEY + 1).decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no key"
            raise LlmError(f"language model: api_key_file {path}: {reason}") from None
    if not key and not configured.endpoint.local:
        raise LlmError(f"language model: no key: set {PREFIX}API_KEY, or {PREFIX}API_KEY_FILE to a file that holds it")
    if len(key) > MAX_KEY or not (key.isascii() and key.isprintable()):
        raise LlmError("language model: the key is not one line of plain characters")
    return key


def _environment() -> dict[str, Any]:
    names = {f"{PREFIX}{field.upper()}": field for field in Configuration.model_fields}
    return {field: os.environ[name] for name, field in names.items() if os.environ.get(name)}


def _file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LlmError(f"{CONFIG}: {path}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        raise LlmError(f"{CONFIG}: {path}: no TOML file") from None  # what is wrong in it may be the key


def _layered(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """One over the other; a key from above hides every key below."""
    if any(name in above for name in KEYS):
        below = {name: value for name, value in below.items() if name not in KEYS}
    return {**below, **above}
