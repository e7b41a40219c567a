"""The Materials Cloud 2D database as its archive distributes it (Campi et al., ACS Nano 17, 11268 (2023)).

``structure_2d.json`` (``structures.json`` in the first release) lists the materials; the monolayers relaxed by PBE lie,
named by their UUID, as CIF in ``optimized_2d_structures.zip`` or in a folder of that name beside it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from uuid import UUID

from library.sources.bounded import content, documents, file_digest, limited, open_maybe_gzip
from library.sources.entry import Entry, Refusal, RefusedError, attempt, printable
from library.sources.published import named
from library.sources.structure_files import parse
from microscopy.errors import LibraryError

LISTS = ("structure_2d.json", "structures.json")
STRUCTURES = "optimized_2d_structures"


def find_list(folder: Path) -> Path | None:
    """File that lists the materials of an MC2D folder, if the folder is one."""
    structures = (folder / STRUCTURES).is_dir() or (folder / f"{STRUCTURES}.zip").is_file()
    return next((folder / name for name in LISTS if structures and (folder / name).is_file()), None)


def read_mc2d(listing: Path) -> Iterator[Entry | Refusal]:
    """Relaxed monolayers of MC2D; materials that were not relaxed as a monolayer are refused.

    Raises
    ------
    LibraryError
        If the list or the structures beside it cannot be read.
    """
    with ExitStack() as stack:
        load = _loader(listing.parent, stack)
        version = file_digest(listing)
        stream = stack.enter_context(open_maybe_gzip(listing))
        for number, record in enumerate(documents(stream, listing.name)):
            place = f"{listing.stem}#{number}"
            yield attempt(place, partial(_entry, record, load, version))


def _entry(record: object, load: Callable[[str], bytes], version: str) -> Entry:
    if isinstance(record, RefusedError):
        raise record
    if not isinstance(record, dict):
        raise RefusedError("unknown kind of record")
    uuid = record.get("optimized_2D_structure_uuid")
    if not uuid:
        raise RefusedError("not relaxed as a monolayer", printable(str(record.get("formula", ""))))
    id = str(UUID(str(uuid)))
    item = next(parse(load(f"{id}.cif"), f"{id}.cif", id, "MC2D"))
    if isinstance(item, Refusal):
        raise RefusedError(item.reason, f"{id}: {item.detail}")
    database = named("MC2D")
    return Entry(id, item.structure, database.name, database.licence, database.url_of(id), version=version)


def _loader(folder: Path, stack: ExitStack) -> Callable[[str], bytes]:
    if (folder / STRUCTURES).is_dir():
        return lambda name: content(folder / STRUCTURES / name)
    path = folder / f"{STRUCTURES}.zip"
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
    except (zipfile.BadZipFile, OSError) as error:
        raise LibraryError(f"{path}: not a readable zip archive ({error})") from error
    members = {Path(member.filename).name: member for member in archive.infolist()}

    def load(name: str) -> bytes:
        if name not in members:
            raise RefusedError("no structure in file", f"{name} is not in {path.name}")
        with archive.open(members[name]) as stream:
            return limited(stream, name)

    return load
