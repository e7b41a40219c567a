import os
import signal
import subprocess
import sys

import pytest
from library_folders import write_library

from library import writing
from library.folder import MANIFEST, verify
from library.store import Library
from library.writing import locked
from microscopy.errors import LibraryError
from microscopy.micrograph import Modality


def test_foreign_folders_are_left_alone(tmp_path, templates):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    for manifest in (None, "{", '{"kind": "other"}', "[]"):
        if manifest:
            (foreign / MANIFEST).write_text(manifest)
        with pytest.raises(LibraryError, match="choose another"):
            write_library(foreign, templates)
    assert (foreign / "thesis.txt").read_text() == "years of work"
    with pytest.raises(LibraryError, match="choose another"):
        write_library(foreign / "thesis.txt", templates)


def test_a_damaged_library_can_be_written_again(folder, templates):
    (folder / MANIFEST).write_text("{")
    write_library(folder, templates)
    assert verify(folder)["count"] == 4


def test_replacing_keeps_open_readers_whole_and_leaves_no_old_files(folder, templates):
    before = Library.open(folder)
    write_library(folder, templates[:2])
    after = Library.open(folder)
    assert len(after) == 2
    assert after.digest != before.digest
    assert len(before) == 4
    assert before.template(3).formula == "C"
    assert before.search(before.fingerprints(Modality.IDPC)[3], Modality.IDPC, 1)[0].tolist() == [3]
    assert sorted(p.suffix for p in folder.iterdir()) == ["", ".arrow", ".json"]


def test_a_disk_that_is_full_leaves_the_old_library(folder, templates, monkeypatch):
    def dies(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "_sync", dies)
    with pytest.raises(LibraryError, match="No space left"):
        write_library(folder, templates[:1])
    monkeypatch.undo()
    assert verify(folder)["count"] == 4


def test_the_same_content_has_the_same_digest(folder, templates, tmp_path):
    write_library(tmp_path / "twin", templates, aliases=[(0, "alias")])
    assert Library.open(tmp_path / "twin").digest == Library.open(folder).digest


def test_a_second_writer_is_told_who_the_first_is(folder, templates):
    with locked(folder), pytest.raises(LibraryError, match=f"process {os.getpid()} on .*; wait"):
        write_library(folder, templates)
    write_library(folder, templates)


def test_the_lock_of_a_killed_writer_is_no_obstacle(folder, templates):
    hold = "import sys, pathlib\nfrom library.writing import locked\n"
    hold += "with locked(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(LibraryError, match=f"process {process.pid}"):
            write_library(folder, templates)
        process.send_signal(signal.SIGKILL)
        process.wait()
        write_library(folder, templates[:1])
    assert verify(folder)["count"] == 1
