"""Fill the tables of docs/reference from the code: python docs/generate.py.

A page has blocks between ``<!-- NAME -->`` and ``<!-- end -->``; what is around them is written by hand.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel, ByteSize

from benchmarks.cli import app as bench
from benchmarks.document import put
from flows.cli import app
from flows.settings import Settings
from planning.limits import ADVISORY, LIMITS
from reporting.result import Result

REFERENCE = Path(__file__).parent / "reference"


def main() -> None:
    """Fill every block."""
    for page, blocks in PAGES.items():
        for name, write in blocks.items():
            put(REFERENCE / page, name, write())


def commands() -> str:
    """Every command with its arguments and options."""
    return "\n\n".join(_command(" ".join(("automat", *path)), command) for path, command in walk(root()))


def root() -> Any:
    """The ``automat`` command as it is installed, with the groups of other packages."""
    command = typer.main.get_command(app)
    command.add_command(typer.main.get_command(bench), "bench")
    return command


def walk(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with its words after ``automat``."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from walk(command, (*path, name))
        else:
            yield (*path, name), command


def _command(name: str, command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
    words = [name, *(_argument(each) for each in arguments)]
    words += [f"{each.opts[0]} {_value(each).upper()}" for each in options if each.required]
    words += ["[OPTIONS]"] * any(not each.required for each in options)
    about = " ".join(inspect.cleandoc(command.help or "").split())
    rows = [(f"`{_argument(each)}`", _value(each), "", _help(each)) for each in arguments]
    rows += [(f"`{'`, `'.join(each.opts)}`", _value(each), _default(each), _help(each)) for each in options]
    table = _table(("", "value", "default", "meaning"), rows)
    return f"## {name}\n\n    {' '.join(words)}\n\n{about}\n\n{table}".rstrip()


def _argument(parameter: Any) -> str:
    name = parameter.name.upper() + ("..." if parameter.nargs == -1 else "")
    return name if parameter.required else f"[{name}]"


def _value(parameter: Any) -> str:
    if getattr(parameter, "is_flag", False):
        return ""
    annotation = parameter.type_descriptor.annotation
    inner = typing.get_args(annotation)
    return _name(inner[0] if inner else annotation) + (", repeatable" if parameter.multiple else "")


def _default(option: Any) -> str:
    if option.required:
        return "required"
    return "" if option.is_flag or option.default in (None, ()) else f"`{option.default}`"


def _help(parameter: Any) -> str:
    variable = f" From `{parameter.envvar}` if that is set." if parameter.envvar else ""
    return f"{parameter.help or ''}{variable}"


def settings() -> str:
    """Every field of `Settings`, the top level first, then a table per stage."""
    meanings = _attributes(Settings)
    tops, below = [], []
    for name, field in Settings.model_fields.items():
        if is_dataclass(field.annotation):
            below.append(f"### `[{name}]`\n\n{_options(field.annotation)}")
        else:
            tops.append((f"`{name}`", _name(field.annotation), _toml(field.default), meanings[name]))
    return "\n\n".join(["### Top level", _table(("setting", "type", "default", "meaning"), tops), *below])


def _options(stage: Any) -> str:
    meanings, hints = _attributes(stage), typing.get_type_hints(stage)
    rows = [
        (f"`{each.name}`", _name(hints[each.name]), _toml(each.default), meanings[each.name])
        for each in fields(stage)
        if each.default is not MISSING
    ]
    return _table(("setting", "type", "default", "meaning"), rows)


def _toml(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, ByteSize):
        return f'`"{value.human_readable(decimal=True)}"`'
    return "`[]`" if value == () else f"`{value}`"


def result() -> str:
    """Every field of result.json, one table a record, in the order of first mention."""
    waiting, seen, parts = [("", Result)], {Result}, []
    while waiting:
        path, record = waiting.pop(0)
        rows = []
        for name, field in record.model_fields.items():
            rows.append((f"`{name}`", _name(field.annotation), field.description or ""))
            for inner in _records(field.annotation):
                if inner not in seen:
                    seen.add(inner)
                    many = "[]" if typing.get_origin(field.annotation) is tuple else ""
                    waiting.append((f"{path}.{name}{many}".lstrip("."), inner))
        title = f"### `{path}`\n\n{inspect.getdoc(record)}\n\n" if path else ""
        parts.append(title + _table(("field", "type", "meaning"), rows))
    return "\n\n".join(parts)


def _records(annotation: Any) -> list[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in typing.get_args(annotation) for found in _records(part)]


def checks() -> str:
    """Every check with its limit."""
    rows = []
    for name, limit in LIMITS.items():
        told = f"{limit.meaning}{'; decides nothing' if name in ADVISORY else ''}"
        rows.append((f"`{name}`", f"{'≥' if limit.least else '≤'} {limit.value:g}", told))
    return _table(("check", "limit", "measures"), rows)


def _name(annotation: Any) -> str:
    """A type in the words of TOML and JSON."""
    if annotation is type(None):
        return "null"
    if annotation is Ellipsis:
        return "…"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _name(arguments[0])
    if origin is typing.Literal:
        return " or ".join(f'`"{each}"`' for each in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_name(each) for each in arguments)
    if origin is tuple:
        inner = [_name(each) for each in arguments if each is not Ellipsis]
        return f"list of {inner[0]}" if Ellipsis in arguments else f"[{', '.join(inner)}]"
    if origin is dict:
        return f"object of {_name(arguments[1])}"
    if issubclass(annotation, Enum):
        return " or ".join(f'`"{each.value}"`' for each in annotation)
    if annotation is ByteSize:
        return 'text such as `"20GB"`'
    words = {str: "text", Path: "path", bool: "true or false", int: "integer", float: "number"}
    return words.get(annotation, "object")


def _attributes(record: type) -> dict[str, str]:
    """Meaning by name from the section ``Attributes`` of a docstring."""
    section = (inspect.getdoc(record) or "").partition("Attributes\n----------\n")[2]
    found = re.findall(r"^(\w[\w, ]*)\n((?:    .*\n?)+)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for names, text in found for name in names.split(", ")}


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; empty without rows."""
    lines = [[cell.replace("``", "`").replace("|", r"\|") for cell in row] for row in rows]
    if not lines:
        return ""
    head = list(head)
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *lines])


PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "commands.md": {"commands": commands},
    "settings.md": {"settings": settings},
    "result.md": {"result": result, "checks": checks},
}
"""Page → its blocks and what fills them."""

if __name__ == "__main__":
    main()
