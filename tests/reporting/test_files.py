from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import fake_run
import pytest

from microscopy.errors import ReadError, ReportError
from reporting.building import failed_result
from reporting.files import MAX_STEM_BYTES, run_folder, safe_stem, write_run_folder

CIFS = {
    "structure_cif": "data_best\n",
    "relaxed_cif": "data_relaxed\n",
    "alternative_cifs": ["data_one\n", "data_two\n"],
}


RESULT = fake_run.whole_run()


def write(out: Path, report: str = "<p>report</p>") -> Path:
    return write_run_folder(out, RESULT, **CIFS, overlay=b"\x89PNG", report=report)


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_folder_holds_what_the_result_names(tmp_path: Path) -> None:
    folder = write(tmp_path / "runs")
    assert folder == tmp_path / "runs" / f"flake 07-{fake_run.SHA[:8]}"
    assert contents(folder) == {
        "structure.cif",
        "relaxed.cif",
        "alternatives/1.cif",
        "alternatives/2.cif",
        "overlay.png",
        "report.html",
        "result.json",
    }
    text = json.loads((folder / "result.json").read_text())
    for name in (text["structure"]["cif"], text["energy"]["relaxed_cif"], *(a["cif"] for a in text["alternatives"])):
        assert (folder / name).read_text().startswith("data_")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [folder.name]


def test_folder_is_readable_by_others_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        folder = write(tmp_path)
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o755


def test_older_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "alternatives" / "3.cif").write_text("left over")
    assert write(tmp_path, report="<p>newer</p>") == folder
    assert "alternatives/3.cif" not in contents(folder)
    assert (folder / "report.html").read_text() == "<p>newer</p>"
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("failing", range(7))
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_nothing_partial_remains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, failing: int, old: bool
) -> None:
    """Whichever of the seven files fails, the older folder stays complete, or there is none."""
    if old:
        write(tmp_path, report="<p>older</p>")
    left = iter(range(100))
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if next(left) == failing:
            raise error
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises((ReportError, KeyboardInterrupt)):
        write(tmp_path)
    if not old:
        assert list(tmp_path.iterdir()) == []
        return
    (folder,) = tmp_path.iterdir()
    assert len(contents(folder)) == 7
    assert (folder / "report.html").read_text() == "<p>older</p>"


def test_older_folder_returns_when_the_rename_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path, report="<p>older</p>")
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(errno.EIO, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(ReportError, match="Input/output error"):
        write(tmp_path)
    assert (folder / "report.html").read_text() == "<p>older</p>"
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_full_disk_is_one_line_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(ReportError, match=r"^cannot write .*: No space left on device; free the space") as caught:
        write(tmp_path)
    assert "\n" not in str(caught.value)


def test_parent_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("not a folder")
    with pytest.raises(ReportError, match="cannot write"):
        write(tmp_path / "runs")


def test_foreign_files_are_never_deleted(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, RESULT)
    folder.mkdir()
    (folder / "thesis.docx").write_text("years of work")
    with pytest.raises(ReportError, match="holds other files"):
        write(tmp_path)
    assert (folder / "thesis.docx").read_text() == "years of work"


def test_links_are_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run_folder(tmp_path, RESULT).symlink_to(elsewhere)
    with pytest.raises(ReportError, match="in the way"):
        write(tmp_path)


def test_cifs_must_match_the_result(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"disagree on alternatives/2\.cif"):
        write_run_folder(tmp_path, RESULT, **(CIFS | {"alternative_cifs": ["data_one\n"]}))
    assert list(tmp_path.iterdir()) == []


def test_failed_input_gets_a_folder_too(tmp_path: Path) -> None:
    folder = write_run_folder(tmp_path, failed_result("x/empty.tif", None, ReadError("empty.tif is empty")))
    assert folder.name == "empty-unreadable"
    assert contents(folder) == {"result.json"}


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("scan.tif", "scan"),
        ("/data/last night/scan 03.dm4", "scan 03"),
        ("C:\\data\\scan.emd", "scan"),
        ("Übung μ-MoS₂ 试样.tif", "Übung μ-MoS₂ 试样"),
        ("..", "image"),
        ("../../etc/passwd", "passwd"),
        ("...tif", "image"),
        (".hidden.tif", "hidden"),
        ("a\nb\tc.tif", "a b c"),
        ("archive.tar.gz", "archive.tar"),
        ("--help.tif", "help"),
        ("", "image"),
        ("\u202ereversed.tif", "reversed"),
    ],
)
def test_stems_are_safe(path: str, stem: str) -> None:
    assert safe_stem(path) == stem


def test_stems_are_bounded_without_splitting_a_character() -> None:
    stem = safe_stem("试" * 300 + ".tif")
    assert len(stem.encode()) <= MAX_STEM_BYTES
    assert set(stem) == {"试"}
