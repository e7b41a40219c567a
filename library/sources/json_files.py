"""JSON files of structures, read one record at a time; each record shows of which database's form it is."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

from library.sources import jarvis, twodmatpedia
from library.sources.bounded import documents, file_digest, open_maybe_gzip
from library.sources.entry import Entry, Refusal, RefusedError, attempt, printable
from microscopy.errors import LibraryError

FORMS = (jarvis, twodmatpedia)


def is_json(name: str) -> bool:
    """Whether a name is that of a JSON file, gzip included."""
    return name.lower().endswith((".json", ".json.gz", ".jsonl", ".jsonl.gz"))


def read_json(path: Path) -> Iterator[Entry | Refusal]:
    """Entries of a JSON file.

    Raises
    ------
    LibraryError
        If the file cannot be opened.
    """
    try:
        version = file_digest(path)
        stream = open_maybe_gzip(path)
    except OSError as error:
        raise LibraryError(f"{path}: cannot be read ({error})") from error
    with stream:
        yield from read_records(stream, path.name, version)


def read_records(stream: IO[bytes], name: str, version: str) -> Iterator[Entry | Refusal]:
    """Entries of a stream of JSON; nothing is read on when its first record is of no known form."""
    number = -1
    try:
        for number, record in enumerate(documents(stream, name)):
            item = _read(record, f"{name}#{number}", name, version)
            yield item
            if number == 0 and isinstance(item, Refusal) and item.reason == "unknown kind of record":
                return
    except LibraryError as error:
        yield Refusal(printable(name), "unreadable file", printable(str(error)))
        return
    if number < 0:
        yield Refusal(printable(name), "no structure in file")


def _read(record: Any, place: str, file: str, version: str) -> Entry | Refusal:
    if isinstance(record, RefusedError):
        return Refusal(printable(place), record.reason, record.detail)
    for form in FORMS if isinstance(record, dict) else ():
        if id := form.recognise(record):
            return attempt(id, partial(form.entry, record, id, printable(file), version))
    return Refusal(printable(place), "unknown kind of record", "neither 2DMatPedia's nor JARVIS's form")
