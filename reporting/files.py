"""The run folder: complete or absent, never partial.

Everything is written into a hidden sibling and renamed as a whole.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath

from microscopy.errors import ReportError
from reporting.result import RELAXED_CIF, STRUCTURE_CIF, Result, alternative_cif

RESULT_JSON = "result.json"
OVERLAY_PNG = "overlay.png"
PATH_XYZ = "relaxation.extxyz"
REPORT_HTML = "report.html"

MAX_STEM_BYTES = 120
"""Of a folder's name; file systems allow 255 with the digest and a temporary suffix added."""

_ATTEMPTS = 5
"""Tries at replacing an older folder while another process does the same."""


def safe_stem(path: str) -> str:
    """Folder name of an input: its file name without directory, suffix and anything a file system dislikes."""
    name = PureWindowsPath(path).name or path  # knows both separators
    stem = name[: name.rfind(".")] if name.rfind(".") > 0 else name
    stem = unicodedata.normalize("NFC", stem)
    stem = "".join(" " if unicodedata.category(c)[0] in "CZ" or c in '/\\:*?"<>|' else c for c in stem)
    stem = re.sub(r"\s+", " ", stem).strip().lstrip(".-~ ").rstrip(". ")
    stem = stem.encode()[:MAX_STEM_BYTES].decode(errors="ignore").rstrip(". ")
    return stem or "image"


def run_folder(out: Path, result: Result) -> Path:
    """``OUT/<stem>-<first 8 of sha256>``; an input that could not be read has no digest."""
    digest = result.image.sha256[:8] if result.image.sha256 else "unreadable"
    return out / f"{safe_stem(result.image.path)}-{digest}"


def write_run_folder(
    out: Path,
    result: Result,
    *,
    structure_cif: str | None = None,
    relaxed_cif: str | None = None,
    alternative_cifs: Sequence[str] = (),
    path_xyz: str | None = None,
    overlay: bytes | None = None,
    report: str | None = None,
) -> Path:
    """Write one run folder, replacing an older one of the same input.

    Parameters
    ----------
    out
        Parent folder, made when missing.
    result
        Goes to ``result.json``; each CIF it names must be given, and no other.
    structure_cif, relaxed_cif, alternative_cifs
        CIF texts.
    path_xyz
        The way of the relaxation, extended XYZ.
    overlay
        PNG.
    report
        HTML.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ReportError
        If a CIF is missing or superfluous, the place is taken by something else, or the disk refuses.
    """
    contents: dict[str, bytes] = {}
    if structure_cif is not None:
        contents[STRUCTURE_CIF] = structure_cif.encode()
    if relaxed_cif is not None:
        contents[RELAXED_CIF] = relaxed_cif.encode()
    for number, text in enumerate(alternative_cifs, start=1):
        contents[alternative_cif(number)] = text.encode()
    _match(contents, result)
    if path_xyz is not None:
        contents[PATH_XYZ] = path_xyz.encode()
    if overlay is not None:
        contents[OVERLAY_PNG] = overlay
    if report is not None:
        contents[REPORT_HTML] = report.encode()
    text = json.dumps(result.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    contents[RESULT_JSON] = (text + "\n").encode()

    target = run_folder(out, result)
    try:
        out.mkdir(parents=True, exist_ok=True)
        _publish(contents, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ReportError(f"cannot write {target}: {reason}; free the space or choose another folder") from error
    return target


def _match(contents: Mapping[str, bytes], result: Result) -> None:
    named = {each.cif for each in result.alternatives}
    if result.structure:
        named.add(result.structure.cif)
    if result.energy and result.energy.relaxed_cif:
        named.add(result.energy.relaxed_cif)
    if named != set(contents):
        difference = ", ".join(sorted(named ^ set(contents)))
        raise ReportError(f"{result.image.path}: result.json and the CIF files given disagree on {difference}")


def _publish(contents: Mapping[str, bytes], target: Path) -> None:
    """Make ``target`` hold exactly ``contents``."""
    _refuse_foreign(target)
    temporary = Path(tempfile.mkdtemp(prefix=".", suffix=".part", dir=target.parent))
    try:
        folder = temporary / "new"  # mkdtemp is private to the user; this one follows the umask
        folder.mkdir()
        for name, data in contents.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            with path.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # a full disk must be noticed before the rename
        _swap(folder, target, temporary / "old")
    finally:  # also on Ctrl-C
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(folder: Path, target: Path, old: Path) -> None:
    """Rename ``folder`` to ``target``; what is there moves to ``old`` and comes back if that fails."""
    for attempt in range(_ATTEMPTS):
        moved = False
        try:
            if target.exists():
                target.rename(old)
                moved = True
            folder.rename(target)
            return
        except OSError as error:
            busy = error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)
            if not busy or attempt == _ATTEMPTS - 1:
                raise
        finally:
            if moved and not target.exists():
                old.rename(target)
            elif moved:
                shutil.rmtree(old, ignore_errors=True)


def _refuse_foreign(target: Path) -> None:
    """Never delete what is not a run folder."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ReportError(f"{target} is in the way and not a folder; move it or choose another output folder")
    if target.is_dir() and any(target.iterdir()) and not (target / RESULT_JSON).is_file():
        raise ReportError(f"{target} holds other files; move them or choose another output folder")
