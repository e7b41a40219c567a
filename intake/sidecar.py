"""What lies beside a micrograph and says what its file does not: elements, dose, pixel size and the like.

For ``image.emd`` these are, the nearest first: ``image.emd.toml``, ``image.emd.json``, ``image.toml``, ``image.json``,
and ``automat.toml`` in its folder and in those above it, up to the watched one.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intake.errors import IntakeError
from intake.opening import inside, open_regular
from intake.places import shown
from microscopy.micrograph import Modality

FOLDER = "automat.toml"
"""Name of the file that speaks for a whole folder and those in it."""

MAX_BYTES = 1_000_000

MAX_NAME = 200
"""Characters of a formula or the name of a signal."""


@dataclass(frozen=True)
class Sidecar:
    """What was said about a micrograph.

    Attributes
    ----------
    options
        Fields of `microscopy.readers.ReadOptions` as JSON holds them: ``pixel_size`` [y, x] in Å, ``dose`` in e/Å²,
        ``elements`` a sorted list.
    sources
        Files that were read, the nearest first.
    ignored
        Keys that mean nothing here, as ``file: key``; the software of instruments writes many.
    """

    options: dict[str, Any]
    sources: tuple[Path, ...]
    ignored: tuple[str, ...] = ()


def sidecars(path: Path, root: Path) -> list[Path]:
    """Files beside a micrograph that speak about it, the nearest first.

    Parameters
    ----------
    path
        The micrograph, below ``root``.
    root
        The watched folder.
    """
    beside = [f"{stem}{suffix}" for stem in (path.name, path.stem) for suffix in (".toml", ".json")]
    places = [path.with_name(name) for name in dict.fromkeys(beside)]
    for folder in path.parents:
        places.append(folder / FOLDER)
        if folder == root:
            break
    return [place for place in dict.fromkeys(places) if place.is_symlink() or place.exists()]


def youngest(path: Path, root: Path) -> float:
    """When the latest of them was modified, seconds since 1970 as the file system tells it; -inf without any."""
    return max((place.lstat().st_mtime for place in sidecars(path, root)), default=-math.inf)


def read_sidecar(path: Path, root: Path) -> Sidecar:
    """Read everything that lies beside a micrograph and speaks about it; what is nearer wins.

    A nearer formula or set of elements replaces both: they describe one thing.

    Parameters
    ----------
    path, root
        As in `sidecars`.

    Raises
    ------
    IntakeError
        If one of the files cannot be read, or a key that is known here has a value it cannot have; the message names
        both.
    """
    options: dict[str, Any] = {}
    ignored: list[str] = []
    sources = sidecars(path, root)
    for source in sources:
        said = {}
        for name, value in _document(source, root).items():
            if value is None:
                continue
            if name not in _KNOWN:
                ignored.append(f"{shown(source.name)}: {shown(name)}")
                continue
            try:
                said[name] = _KNOWN[name](value)
            except (TypeError, ValueError, OverflowError) as error:
                raise IntakeError(f"{shown(str(source))}: {name} = {shown(repr(value))[:80]}: {error}") from None
        _agree(source, said)
        if {"elements", "formula"} & options.keys():
            said = {name: value for name, value in said.items() if name not in ("elements", "formula")}
        options = said | options
    return Sidecar(options, tuple(sources), tuple(ignored))


def _document(source: Path, root: Path) -> dict[str, Any]:
    name = shown(str(source))
    try:
        with open_regular(inside(source, root)) as stream:
            raw = stream.read(MAX_BYTES + 1)
    except IntakeError as error:
        raise IntakeError(f"{name}: {error}") from None
    except OSError as error:
        raise IntakeError(f"{name}: cannot be read ({error.strerror or error}); make it readable") from error
    if len(raw) > MAX_BYTES:
        raise IntakeError(f"{name}: is larger than {MAX_BYTES / 1e6:.0f} MB; a sidecar is a few lines")
    try:
        text = raw.decode("utf-8-sig")
        document = tomllib.loads(text) if source.suffix == ".toml" else json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else shown(str(error))
        raise IntakeError(f"{name}: is no {source.suffix[1:].upper()} ({reason}); correct it or remove it") from None
    return document if isinstance(document, dict) else {}


def _agree(source: Path, said: dict[str, Any]) -> None:
    """Refuse a formula of other elements."""
    if "elements" in said and "formula" in said and said["elements"] != sorted(_counts(said["formula"])):
        elements = ",".join(said["elements"])
        raise IntakeError(f"{shown(str(source))}: elements {elements} and formula {said['formula']} disagree; give one")


def _counts(formula: str) -> dict[str, int]:
    from ase.data import atomic_numbers
    from ase.formula import Formula

    try:
        counts = dict(Formula(formula).count())
    except (ValueError, KeyError, IndexError):
        counts = {}
    if not counts or not all(atomic_numbers.get(symbol, 0) > 0 for symbol in counts):
        raise ValueError("no chemical formula; write it like MoS2")
    return counts


def _formula(value: Any) -> str:
    from ase.formula import Formula

    if not isinstance(value, str) or len(value) > MAX_NAME:
        raise TypeError("no short text; write it like MoS2")
    _counts(value.strip())
    return str(Formula(value.strip()).reduce()[0].format("metal"))


def _elements(value: Any) -> list[str]:
    from ase.data import atomic_numbers

    symbols = value.replace(",", " ").split() if isinstance(value, str) else value
    if not isinstance(symbols, list) or not symbols or not all(isinstance(symbol, str) for symbol in symbols):
        raise TypeError('no elements; write "Mo,S" or ["Mo", "S"]')
    unknown = [symbol for symbol in symbols if atomic_numbers.get(symbol, 0) < 1]
    if unknown:
        raise ValueError(f"{shown(', '.join(unknown))[:40]} is no element; write symbols like Mo")
    return sorted(set(symbols))


def _positive(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError("must be a positive number")
    return float(value)


def _pixel_size(value: Any) -> list[float]:
    values = value if isinstance(value, list) else [value]
    if not 1 <= len(values) <= 2:
        raise ValueError("must be Å per pixel, one number or [y, x]")
    return [_positive(values[0]), _positive(values[-1])]


def _modality(value: Any) -> str:
    by_name = {each.value.lower(): each.value for each in Modality}
    if not isinstance(value, str) or value.lower() not in by_name:
        raise ValueError(f"must be one of {', '.join(by_name)}")
    return by_name[value.lower()]


def _signal(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or len(str(value)) > MAX_NAME:
        raise TypeError("must be the name or the index of a signal")
    return str(value)


def _frame(value: Any) -> int | str:
    if value == "mean" or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise ValueError('must be an index from 0, or "mean"')


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("must be true or false")
    return value


_KNOWN: dict[str, Callable[[Any], Any]] = {
    "elements": _elements,
    "formula": _formula,
    "dose": _positive,
    "pixel_size": _pixel_size,
    "modality": _modality,
    "signal": _signal,
    "frame": _frame,
    "crop_scale_bar": _flag,
}
