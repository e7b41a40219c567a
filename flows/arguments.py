"""What is written on the command line, checked and made of use: a mistake is one line and exit code 2."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NoReturn

import typer

UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "": 1}
"""Of times, in seconds."""

ESTIMATE = "estimate"
"""Pixel size that is to be taken from the best template."""


def usage(message: str) -> NoReturn:
    """Say what is wrong in one line and end with exit code 2."""
    from flows.terminal import complain

    complain(message)
    raise typer.Exit(2)


def runner(name: str) -> str:
    """Check the name of what runs workers."""
    if name not in ("process", "dask"):
        usage(f"--runner {name!r}: choose process or dask")
    return name


def composition(elements: str | None, formula: str | None) -> tuple[tuple[str, ...] | None, str | None]:
    """Symbols and reduced formula, checked against each other."""
    known = symbols(elements) if elements is not None else None
    if formula is None:
        return known, None
    from ase.formula import Formula as Parsed

    try:
        counts = Parsed(formula).count()
    except (ValueError, KeyError):
        counts = {}
    if not counts or not all(_is_element(symbol) for symbol in counts):
        usage(f"--formula {formula!r} is no chemical formula; write it like MoS2")
    if known is not None and set(known) != set(counts):
        usage(f"--elements {elements} and --formula {formula} disagree; give one of them")
    return known, str(Parsed(formula).reduce()[0].format("metal"))


def symbols(text: str) -> tuple[str, ...]:
    """Sorted symbols."""
    found = tuple(sorted({part for part in re.split(r"[,\s]+", text) if part}))
    unknown = [symbol for symbol in found if not _is_element(symbol)]
    if unknown or not found:
        usage(f"--elements {text!r}: {', '.join(unknown) or 'nothing'} is no element; write symbols like Mo,S")
    return found


def _is_element(symbol: str) -> bool:
    from ase.data import atomic_numbers

    return atomic_numbers.get(symbol, 0) > 0


def pixel_size_of(text: str | None) -> tuple[float, float] | None:
    """(y, x) in Å from one number or ``y,x``."""
    if text is None:
        return None
    values = _numbers(text)
    if not 1 <= len(values) <= 2 or not all(0 < value < float("inf") for value in values):
        usage(f"--pixel-size {text!r}: give Å per pixel as one positive number, or as y,x")
    return values[0], values[-1]


def shape(text: str) -> tuple[int, int]:
    """(rows, columns)."""
    values = _numbers(text)
    if len(values) != 2 or not all(value >= 1 and value == int(value) for value in values):
        usage(f"--shape {text!r}: give rows,columns as whole numbers")
    return int(values[0]), int(values[1])


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return []


def frame_of(text: str | None) -> int | str | None:
    """Index in a stack, or ``mean``."""
    if text is None or text == "mean":
        return text
    if not text.isdecimal():
        usage(f"--frame {text!r}: give an index from 0, or mean")
    return int(text)


def modality_of(text: str | None) -> Any:
    """`Modality` by name, any case."""
    if text is None:
        return None
    from microscopy.micrograph import Modality

    by_name = {each.value.lower(): each for each in Modality}
    if text.lower() not in by_name:
        usage(f"--modality {text!r}: choose one of {', '.join(by_name)}")
    return by_name[text.lower()]


def seconds(text: str, option: str) -> float:
    """Seconds of a time such as 30s, 5m, 1.5h or 30d."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?\s*", text)
    if match is None:
        usage(f"{option} {text!r}: give a time such as 30s, 5m, 1h or 30d")
    return float(match[1]) * UNITS[match[2] or ""]


def size(text: str, option: str) -> int:
    """Bytes of a size such as 500MB, 20GB or 20GiB; one without a unit is most likely not meant in bytes."""
    from pydantic import ByteSize, TypeAdapter, ValidationError

    try:
        found = int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError:
        found = -1
    if found < 0 or (found and text.strip()[-1].isdigit()):
        usage(f"{option} {text!r}: give a size with its unit, such as 500MB or 20GB")
    return found


def artefact(text: str) -> tuple[str, float]:
    """Name and strength."""
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        usage(f"--artefact {text!r}: write NAME=VALUE; '--artefact list' names them")


def overrides(
    *,
    pixel_size: str | None,
    elements: str | None,
    formula: str | None,
    dose: float | None,
    modality: str | None,
    library: list[Path] | None,
    exclude: list[str] | None,
    potential: str | None,
    planner: str | None,
    no_relax: bool,
    signal: str | None = None,
    frame: str | None = None,
    crop_scale_bar: bool = False,
) -> dict[str, Any]:
    """Shape the options of a run as `flows.settings.load_settings` lays them over a file; None: not given."""
    known, reduced = composition(elements, formula)
    return {
        "read": {
            "pixel_size": None if pixel_size == ESTIMATE else pixel_size_of(pixel_size),
            "elements": known,
            "formula": reduced,
            "dose": dose,
            "modality": modality_of(modality),
            "signal": signal,
            "frame": frame_of(frame),
            "crop_scale_bar": crop_scale_bar or None,
        },
        "retrieval": {"exclude": tuple(exclude) if exclude else None},
        "library": tuple(library) if library else None,
        "potential": potential,
        "relaxation": False if no_relax else None,
        "estimate_pixel_size": True if pixel_size == ESTIMATE else None,
        "planner": planner,
    }
