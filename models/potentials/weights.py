"""Weights on this machine: where they belong, how they come here, and whether they are still what came.

A file that was fetched has a manifest beside it, ``<file>.json``: where from, its sha256, and what it was checked
against. Its digest is compared with the manifest's whenever it is used.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from string import hexdigits

import httpx

from microscopy import files
from microscopy.cache import cache_folder
from microscopy.errors import PotentialError
from models.potentials import chgnet, mattersim, registry, sevennet
from models.potentials.download import Limits, Progress, UnreachableError, download
from models.potentials.registry import Family, Known

_FOLDER: dict[Family, Callable[[], Path]] = {
    "sevennet": sevennet.folder,
    "mattersim": mattersim.folder,
    "chgnet": chgnet.folder,
}


def is_url(name: str) -> bool:
    """Whether a potential is given by its address."""
    return name.strip().lower().startswith(("http://", "https://"))


def home(known: Known) -> Path:
    """Where the weights of a published potential belong; `PotentialError` if its package is not installed."""
    try:
        return _FOLDER[known.family]() / known.file
    except PotentialError as error:
        raise PotentialError(f"{known.name}: {error}") from error


def digest(path: Path) -> str:
    """Digest of a file, read once as long as it stays the same; `OSError` if it cannot be read."""
    stat = path.stat()
    return _sha256(path, stat.st_mtime_ns, stat.st_size)


def git_blob(path: Path) -> str:
    """Git's name of a file's content: the SHA-1 of a header with its length, and the content."""
    stat = path.stat()
    return _git_blob(path, stat.st_mtime_ns, stat.st_size)


@cache
def _sha256(path: Path, mtime_ns: int, size: int) -> str:
    """Time and size are part of the key, so that a replaced file is read again."""
    return files.sha256(path)


@cache
def _git_blob(path: Path, mtime_ns: int, size: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)).hexdigest()


def fetch(
    wanted: str,
    sha256: str | None = None,
    trust: bool = False,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    progress: Progress | None = None,
) -> Path:
    """Bring the weights of a potential onto this machine, if they are not here.

    Parameters
    ----------
    wanted
        Name of a published potential, or the URL of a MatterSim checkpoint.
    sha256
        What the content must be. A URL needs it, or `trust`: then the digest of what comes is recorded, and
        anything else is refused from then on.
    limits, progress
        Of the transfer; `progress` is told of bytes done and in all.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    PotentialError
        If it cannot be had, is not what was asked for, or is no MatterSim checkpoint.
    """
    if is_url(wanted):
        return _fetch_url(wanted.strip(), _parsed(sha256), trust, limits, progress)
    known = registry.find(wanted)
    if known is None:
        names = ", ".join(registry.potential_names())
        raise PotentialError(f"{wanted}: unknown potential; choose one of {names}, or give a URL")
    path = home(known)

    def accept(path: Path) -> None:
        _check(path, _parsed(sha256))
        if known.git_blob and git_blob(path) != known.git_blob:
            raise PotentialError(f"{path.name.removesuffix('.part')}: is not the {known.name} that was published")

    if path.is_file():
        try:
            accept(path)
        except PotentialError as error:
            raise PotentialError(f"{error}; move {path} away to fetch it again") from error
    elif not known.url:
        raise PotentialError(f"{path}: missing; install the package again")
    else:
        try:
            download(known.url, path, accept, resume=True, limits=limits, progress=progress)
        except UnreachableError as error:
            raise PotentialError(f"{error}; without a network: copy that file to {path}") from error
        _record(path, known.url, f"git blob {known.git_blob}")
    return path


def _fetch_url(url: str, sha256: str | None, trust: bool, limits: Limits, progress: Progress | None) -> Path:
    path = fetched(url)
    if path is not None:
        _check(path, sha256)
        return path
    if sha256 is None and not trust:
        raise PotentialError(f"{url}: give its --sha256, or --trust to take what comes and hold to it from then on")

    def accept(path: Path) -> None:
        _check(path, sha256)
        mattersim.read(path)

    path = _place(url)
    try:
        download(url, path, accept, resume=sha256 is not None, limits=limits, progress=progress)
    except UnreachableError as error:
        remedy = "without a network: copy the file here and give its path as the potential"
        raise PotentialError(f"{error}; {remedy}") from error
    _record(path, url, "the sha256 given" if sha256 else "nothing: trusted on first use")
    return path


def fetched(url: str) -> Path | None:
    """File that was fetched from a URL, or None.

    Raises
    ------
    PotentialError
        If it has changed since.
    """
    path = _place(url)
    if not (path.is_file() and _manifest(path).is_file()):
        return None
    check_unchanged(path)
    return path


def fetched_urls() -> list[str]:
    """Every URL from which there is a file, in alphabetical order."""
    found = []
    for manifest in _url_folder().glob("*/*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):  # a damaged one is told of when its file is used
            found.append(str(json.loads(manifest.read_text(encoding="utf-8"))["url"]))
    return sorted(found)


def check_unchanged(path: Path) -> None:
    """Compare a file with its manifest, where it has one.

    Raises
    ------
    PotentialError
        If they differ.
    """
    manifest = _manifest(path)
    if not manifest.is_file():
        return
    try:
        recorded = json.loads(manifest.read_text(encoding="utf-8"))["sha256"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise PotentialError(f"{manifest}: cannot be read; delete it and {path.name}, and fetch again") from error
    if digest(path) != recorded:
        raise PotentialError(f"{path}: has changed since it was fetched; delete it and fetch it again")


def _url_folder() -> Path:
    return cache_folder() / "potentials"


def _place(url: str) -> Path:
    """File for the content of a URL; the digest of the URL keeps equal file names apart."""
    try:
        name = Path(httpx.URL(url.strip()).path).name
    except httpx.InvalidURL as error:
        raise PotentialError(f"{url}: {error}") from error
    return _url_folder() / hashlib.sha256(url.strip().encode()).hexdigest()[:12] / (name or "weights.pth")


def _manifest(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _record(path: Path, url: str, checked: str) -> None:
    content = {
        "url": url,
        "sha256": digest(path),
        "bytes": path.stat().st_size,
        "checked_against": checked,
        "fetched": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    write_text(_manifest(path), json.dumps(content, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file that is complete or absent."""
    with files.replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _parsed(text: str | None) -> str | None:
    if text is None:
        return None
    parsed = text.strip().lower().removeprefix("sha256:")
    if len(parsed) != 64 or not set(parsed) <= set(hexdigits):
        raise PotentialError(f"{text}: not a sha256; that is 64 hexadecimal digits")
    return parsed


def _check(path: Path, sha256: str | None) -> None:
    found = digest(path)
    if sha256 is not None and found != sha256:
        raise PotentialError(f"{path.name.removesuffix('.part')}: has sha256 {found}, not {sha256}; it is not used")
