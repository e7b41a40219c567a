"""Everything a user can set: defaults, a TOML file, the command line; the later wins."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ByteSize, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from microscopy.errors import AutoMatError
from microscopy.readers import ReadOptions
from models.denoising import DenoiseOptions
from models.relaxation import RelaxOptions
from planning.planner import MAX_ATTEMPTS
from reconstruction.retrieval import RetrievalOptions

CACHE_LIMIT = ByteSize(20_000_000_000)
"""Some thousand micrographs of the size that `docs/sizing.md` measures."""


class SettingsError(AutoMatError):
    """A setting is unknown or out of range."""

    stage = "settings"


def _planner(name: str) -> str:
    if name not in ("rules", "llm", "none") and not (name.startswith("replay:") and name != "replay:"):
        message = "unknown planner {name}; choose rules, llm, replay:FILE or none"
        raise PydanticCustomError("planner", message, {"name": repr(name)})
    return name


class Settings(BaseModel):
    """Settings of a run, one frozen record per stage.

    Attributes
    ----------
    read, denoise, retrieval, relax
        Options of the stages.
    library
        Library folders; the embedded one when empty.
    potential
        Name or path of a potential; the default with its fallback when none is given.
    relaxation
        Whether to relax at all.
    estimate_pixel_size
        Whether a missing pixel size may be estimated from the best template.
    planner
        Who decides after a failed check: ``rules``, ``llm``, ``replay:FILE`` or ``none``. Which model ``llm`` is, and
        its key, is no setting of a run: see ``planning.llm.endpoint``.
    max_attempts
        Attempts on an image at most.
    cache_limit
        What ``automat watch`` lets the cache grow to, such as ``"20GB"`` or ``"500MB"``; 0 for no limit. What was
        used least recently goes first, and nothing that was used within a day.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    read: ReadOptions = ReadOptions()
    denoise: DenoiseOptions = DenoiseOptions()
    retrieval: RetrievalOptions = RetrievalOptions()
    relax: RelaxOptions = RelaxOptions()
    library: tuple[Path, ...] = ()
    potential: str | None = None
    relaxation: bool = True
    estimate_pixel_size: bool = False
    planner: Annotated[str, AfterValidator(_planner)] = "rules"
    max_attempts: int = Field(default=MAX_ATTEMPTS, ge=1, le=MAX_ATTEMPTS)
    cache_limit: ByteSize = CACHE_LIMIT


def load_settings(config: Path | None, overrides: Mapping[str, Any]) -> Settings:
    """Read a TOML file and lay the command line over it.

    Parameters
    ----------
    config
        File with the fields of `Settings`: top-level keys, and a table per stage.
    overrides
        Same shape; None stands for "not given".

    Raises
    ------
    SettingsError
        If the file cannot be read or a value is not allowed.
    """
    contents: dict[str, Any] = {}
    if config is not None:
        try:
            contents = tomllib.loads(config.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(f"{config}: {reason}") from error
    try:
        return Settings.model_validate(_merged(contents, overrides))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        where = f"{config}: " if config is not None else ""
        raise SettingsError(f"{where}{name}: {first['msg'][:1].lower()}{first['msg'][1:]}") from error


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        if isinstance(value, Mapping):
            below = base.get(name, {})
            merged[name] = _merged(below if isinstance(below, Mapping) else {}, value)
        elif value is not None:
            merged[name] = value
    return merged
