"""Secrets, as far as they can be judged without being read aloud, and the language model that one of them is for."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from flows import secrets
from flows.doctor.finding import Finding, broken, failed, ok, skipped

SECRETS = (*secrets.SECRETS, "PREFECT_API_KEY", "AUTOMAT_LLM_API_KEY")
"""Environment variables whose values nobody may see; with `secrets.SUFFIX`, the path of a file with the value."""

MOUNTED = Path("/run/secrets")
"""Where container engines mount secrets, readable for all in a container that is there for one program."""


def secret_files(environment: Mapping[str, str] = os.environ, mounted: Path = MOUNTED) -> Finding:
    """Every file that holds a secret: it is there, and not open to all."""
    named = {name: environment.get(name + secrets.SUFFIX, "").strip() for name in SECRETS}
    files = {name + secrets.SUFFIX: Path(value).expanduser() for name, value in named.items() if value}
    if not files:
        return skipped("secret files", "none are named (…_FILE)")
    for variable, path in files.items():
        fault = _fault(path, mounted)
        if fault:
            return broken("secret files", f"{variable}: {path} {fault[0]}", fault[1])
    return ok("secret files", f"{len(files)} named, and not every user can read them")


def _fault(path: Path, mounted: Path) -> tuple[str, str] | None:
    """What is wrong with a file of a secret, and what to do."""
    try:
        with path.open("rb") as file:
            content = file.read(1).strip()
    except OSError as error:
        return f"cannot be read ({error.strerror})", "correct the path, or let this user read the file"
    if not content:
        return "is empty", "write the secret into it"
    if path.stat().st_mode & stat.S_IROTH and not path.resolve().is_relative_to(mounted):
        return "can be read by every user of this machine", f"chmod 600 {path}; then change the secret"
    return None


def language_model(environment: Mapping[str, str] = os.environ) -> Finding:
    """Whether ``--planner llm`` could ask anybody; nothing is sent."""
    from planning.llm import endpoint

    name = "language model"
    if not any(environment.get(f"{endpoint.PREFIX}{part}") for part in ("BASE_URL", "MODEL", "CONFIG")):
        return ok(name, "none is configured, and none is needed: rules decide")
    try:
        configured = endpoint.configuration()
        endpoint.secret(configured)
    except endpoint.LlmError as error:
        return failed(name, error, "correct it, or unset AUTOMAT_LLM_…")
    return ok(name, f"{configured.model} at {configured.endpoint.host}, with --planner llm only; not asked now")
