"""A content-addressed store of records: what tasks hand to one another is a `Ref`, never an array.

A record is one zip file: its fields as JSON, its arrays as ``.npy`` members. Nothing is pickled, so reading an
entry runs no code. The digest is that of the contents, hence the same record always has the same `Ref`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure

from microscopy.cache import CACHE_VARIABLE, cached_records
from microscopy.errors import AutoMatError
from microscopy.files import replacing

PACKAGES = frozenset({"microscopy", "models", "library", "reconstruction", "planning", "reporting", "tasks"})
"""Packages whose records may be read back: a file must not name arbitrary classes."""

MESSAGES = {"Micrograph": frozenset({"source", "notices", "metadata"})}
"""Fields for people to read; no result depends on them, so the digest leaves them out."""

_TAG = "$"
_FIELDS = "record.json"


class StoreError(AutoMatError):
    """A record cannot be stored."""

    stage = "store"


class GoneError(StoreError):
    """A stored record is missing or damaged: the next run makes it again."""


_RECORDS: ContextVar[Path | None] = ContextVar("records", default=None)


def records_folder() -> Path:
    """Folder of the stored records."""
    return _RECORDS.get() or cached_records()


@contextmanager
def records_in(folder: Path) -> Iterator[None]:
    """Keep the records of this context in a folder of their own, for runs whose records nobody will ask for again."""
    token = _RECORDS.set(folder)
    try:
        yield
    finally:
        _RECORDS.reset(token)


@dataclass(frozen=True)
class Ref:
    """A stored record.

    Attributes
    ----------
    kind
        Class name of the record.
    digest
        sha256 of its contents.
    seconds
        Time that computing it took, when it was computed; not part of its identity.
    """

    kind: str
    digest: str
    seconds: float = field(default=0.0, compare=False)

    @property
    def identity(self) -> list[str]:
        """What a cache key sees."""
        return [self.kind, self.digest]

    @property
    def path(self) -> Path:
        """File of the record."""
        return records_folder() / self.kind / self.digest[:2] / f"{self.digest}.npz"


def save(record: Any) -> Ref:
    """Store a frozen dataclass made of plain values, arrays, structures, enumerations and other such dataclasses.

    Raises
    ------
    StoreError
        If a field holds anything else, or the disk refuses.
    """
    encoder = _Encoder()
    fields = _json(encoder.encode(record))
    ref = Ref(type(record).__name__, _digest(record))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(_FIELDS, fields)
        for number, array in enumerate(encoder.arrays):
            with archive.open(f"{number}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    write_atomically(ref.path, buffer.getvalue())
    return ref


def load(ref: Ref) -> Any:
    """Read a record back.

    Raises
    ------
    GoneError
        If the file is gone or damaged; a damaged one is removed, so that the next run makes it again.
    """
    try:
        with zipfile.ZipFile(ref.path) as archive:
            arrays = _Members(archive)
            record = _decode(json.loads(archive.read(_FIELDS)), arrays)
    except FileNotFoundError as error:
        raise GoneError(f"{ref.path}: the stored {ref.kind} is gone; run again") from error
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, EOFError, AttributeError, ImportError) as error:
        raise _damaged(ref) from error
    if _digest(record) != ref.digest:
        raise _damaged(ref)
    return record


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that is complete or absent.

    Raises
    ------
    StoreError
        If the disk refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(
            f"cannot write the cache {path.parent}: {reason}; free the space or set {CACHE_VARIABLE}"
        ) from error


def _damaged(ref: Ref) -> GoneError:
    with suppress(OSError):
        ref.path.unlink()
    return GoneError(f"{ref.path}: the stored {ref.kind} was damaged and has been removed; run again")


def _digest(record: Any) -> str:
    """Sha256 over the fields, each array standing as the digest of its bytes."""
    encoder = _Encoder(leave_out=MESSAGES)
    state = hashlib.sha256(_json(encoder.encode(record)))
    for array in encoder.arrays:
        state.update(_json([array.dtype.str, list(array.shape)]))
        state.update(np.ascontiguousarray(array).data)
    return state.hexdigest()


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class _Encoder:
    """Turn a record into JSON values, its arrays set aside in order."""

    def __init__(self, leave_out: Mapping[str, frozenset[str]] | None = None) -> None:
        self.arrays: list[np.ndarray] = []
        self.leave_out = leave_out or {}

    def encode(self, value: Any) -> Any:
        match value:
            case Enum():
                return {_TAG: "enum", "type": _name(type(value)), "value": value.value}
            case None | bool() | int() | float() | str():
                return value
            case np.generic():
                return value.item()
            case np.ndarray():
                return {_TAG: "array", "number": self._aside(value)}
            case bytes():
                return {_TAG: "bytes", "number": self._aside(np.frombuffer(value, dtype=np.uint8))}
            case Structure():
                return {_TAG: "structure", "value": json.loads(json.dumps(value.as_dict(verbosity=0), default=_plain))}
            case tuple():
                return {_TAG: "tuple", "items": [self.encode(item) for item in value]}
            case list():
                return [self.encode(item) for item in value]
            case Mapping() if all(isinstance(key, str) for key in value):
                return {_TAG: "map", "items": {key: self.encode(item) for key, item in value.items()}}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            hidden = self.leave_out.get(type(value).__name__, frozenset())
            names = [f.name for f in dataclasses.fields(value) if f.init and f.name not in hidden]
            fields = {name: self.encode(getattr(value, name)) for name in names}
            return {_TAG: "record", "type": _name(type(value)), "fields": fields}
        raise StoreError(f"cannot store a {type(value).__name__}")

    def _aside(self, array: np.ndarray) -> int:
        if array.dtype.hasobject:
            raise StoreError("cannot store an array of objects")
        self.arrays.append(array)
        return len(self.arrays) - 1


class _Members:
    """The arrays of an open archive, by number."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def __getitem__(self, number: int) -> np.ndarray:
        with self._archive.open(f"{number}.npy") as member:
            return np.asarray(np.lib.format.read_array(member, allow_pickle=False))


def _decode(value: Any, arrays: _Members) -> Any:
    if isinstance(value, list):
        return [_decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    match value[_TAG]:
        case "array":
            return arrays[value["number"]]
        case "bytes":
            return arrays[value["number"]].tobytes()
        case "structure":
            return Structure.from_dict(value["value"])
        case "tuple":
            return tuple(_decode(item, arrays) for item in value["items"])
        case "map":
            return {key: _decode(item, arrays) for key, item in value["items"].items()}
        case "enum":
            return _class(value["type"], Enum)(value["value"])
        case "record":
            fields = {name: _decode(item, arrays) for name, item in value["fields"].items()}
            return _class(value["type"], object)(**fields)
    raise ValueError(f"unknown tag {value[_TAG]!r}")


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _class(name: str, base: type) -> Any:
    module, _, qualified = name.partition(":")
    if module.partition(".")[0] not in PACKAGES:
        raise ValueError(f"{name} is no record of this project")
    kind = getattr(importlib.import_module(module), qualified)
    if not (isinstance(kind, type) and issubclass(kind, base) and (base is Enum or dataclasses.is_dataclass(kind))):
        raise ValueError(f"{name} is no record")
    return kind


def _plain(value: Any) -> Any:
    """JSON form of the numpy values that pymatgen leaves in its dictionaries."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise StoreError(f"cannot store a {type(value).__name__} inside a structure")
