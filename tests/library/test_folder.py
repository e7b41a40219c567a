import json

import pytest
from library_folders import write_library

from library import folder as reading
from library.folder import MANIFEST, load, verify
from library.store import Library
from microscopy.errors import LibraryError


@pytest.mark.parametrize("damage", ["truncate", "remove", "flip"])
@pytest.mark.parametrize("name", ["templates-*", "aliases-*"])
def test_damage_is_refused_with_what_to_do(folder, damage, name):
    file = next(folder.glob(name))
    content = bytearray(file.read_bytes())
    if damage == "truncate":
        file.write_bytes(content[:-10])
    elif damage == "remove":
        file.unlink()
    else:
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
    with pytest.raises(LibraryError, match="rebuild or copy"):
        verify(folder)
    if damage != "flip":
        with pytest.raises(LibraryError, match="rebuild or copy"):
            Library.open(folder)


def test_every_file_is_verified(indexed_folder):
    verify(indexed_folder)
    file = next(indexed_folder.glob("index-*"))
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(LibraryError, match="altered"):
        verify(indexed_folder)


def test_foreign_folders_are_refused(tmp_path, folder):
    with pytest.raises(LibraryError, match="not a template library"):
        Library.open(tmp_path / "absent")
    manifest = json.loads((folder / MANIFEST).read_text())
    changes = [
        ({"schema": 99}, "schema"),
        ({"kind": "other"}, "not a template"),
        ({"fingerprint": {}}, "fingerprints"),
        ({"count": 5}, "incomplete"),
        ({"parts": [{}]}, "incomplete"),
        ({"parts": None}, "incomplete"),
        ({"indices": {"iDPC": {"path": "../../etc/passwd", "sha256": "", "bytes": 1, "covers": 1}}}, "incomplete"),
    ]
    for change, message in changes:
        (folder / MANIFEST).write_text(json.dumps({**manifest, **change}))
        with pytest.raises(LibraryError, match=message):
            Library.open(folder)
    (folder / MANIFEST).write_text("{")
    with pytest.raises(LibraryError, match="cannot be read"):
        Library.open(folder)


def test_a_reader_that_is_overtaken_by_a_writer_reads_again(folder, templates, monkeypatch):
    """The files that a manifest named may be gone a moment later: then there is a newer manifest."""
    read = reading.read_manifest

    def overtaken(path):
        manifest = read(path)
        monkeypatch.setattr(reading, "read_manifest", read)
        write_library(path, templates[:2])
        return manifest

    monkeypatch.setattr(reading, "read_manifest", overtaken)
    assert sum(len(table) for table in load(folder).tables) == 2
