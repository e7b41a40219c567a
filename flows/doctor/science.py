"""What every reconstruction reads besides its image: denoiser, templates, potential, elemental references."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from flows.doctor.finding import Finding, broken, failed, ok, warning

if TYPE_CHECKING:
    from models.potentials import Potential

READ_WHOLE = 300_000_000
"""Bytes up to which a library is read to its end: a second or two."""

AGAIN = "install AutoMat again"

PACKAGES = {"sevennet": "sevenn", "chgnet": "chgnet"}
"""Family of potentials → the package in whose wheel its weights come."""


def denoiser(folder: Path | None = None) -> Finding:
    """Check the weights of the denoiser, byte for byte."""
    from microscopy.files import sha256
    from models.divaesr import manifest

    folder, name = folder or manifest.SHIPPED, "denoiser"
    try:
        files = manifest.read_manifest(folder)["files"]
        wrong = [each for each in files if sha256(folder / f"{each}.safetensors") != files[each]["sha256"]]
        digest = manifest.digest(folder)
    except (manifest.WeightsError, OSError) as error:
        return broken(name, f"its weights cannot be read: {error}", AGAIN)
    if wrong:
        return broken(name, f"{folder}: {', '.join(wrong)} altered: sha256 is not that of the manifest", AGAIN)
    return ok(name, f"{len(files)} networks, as they were trained ({digest[:8]})")


def libraries(folders: Sequence[Path] = ()) -> list[Finding]:
    """Check the embedded library of templates, and those named."""
    from library.store import EMBEDDED

    return [_library(EMBEDDED, "library"), *(_library(folder, f"library {folder.name}") for folder in folders)]


def _library(folder: Path, name: str) -> Finding:
    from library.folder import content_digest, files_of, load, verify
    from microscopy.errors import LibraryError

    try:
        manifest = load(folder).manifest
        small = sum(int(facts["bytes"]) for facts in files_of(manifest)) < READ_WHOLE
        if small:
            verify(folder)
    except LibraryError as error:
        return failed(name, error, f"automat library verify {folder}")
    read = "as they were written" if small else f"sizes checked ('automat library verify {folder}' reads them)"
    return ok(name, f"{manifest['count']:,} templates, {read} ({content_digest(manifest)[:8]})")


def potential(wanted: str | None = None) -> list[Finding]:
    """Find the potential a run would use, and the elements' energies that it needs beside it."""
    from microscopy.errors import PotentialError
    from models.potentials import load_potential

    try:
        found = load_potential(wanted)
    except PotentialError as error:
        return [failed("potential", error, "automat potentials list")]
    return [_weights(found), references(found)]


def _weights(found: Potential) -> Finding:
    if not _as_packaged(found):
        package = PACKAGES[found.family]
        fault = f"{found.path}: altered, its sha256 is not that of the package"
        return broken("potential", fault, f"pip install --force-reinstall --no-deps {package}")
    facts = f"{found.name} ({found.checkpoint[:8]}, {found.scale})"
    return ok("potential", f"{facts}; {found.fallback}" if found.fallback else facts)


def _as_packaged(found: Potential) -> bool:
    """Whether weights that came in a wheel have the digest that the wheel recorded."""
    try:
        files = metadata.files(PACKAGES[found.family]) or ()
    except (KeyError, metadata.PackageNotFoundError):
        return True  # weights of their own, which `load_potential` has checked
    recorded = [file.hash.value for file in files if file.hash and Path(file.locate()) == found.path]
    digest = base64.urlsafe_b64encode(bytes.fromhex(found.checkpoint)).rstrip(b"=").decode()
    return not recorded or recorded == [digest]


def references(found: Potential) -> Finding:
    """Look for the elemental references that come with AutoMat, or that earlier runs made."""
    from microscopy.cache import cache_folder
    from models.elements import SCHEMA, SHIPPED

    name = "references"
    shipped = list(SHIPPED.glob(f"*-{found.checkpoint[:8]}.json"))
    made = list((cache_folder() / "references" / f"v{SCHEMA}" / found.checkpoint).glob("*.json"))
    if shipped:
        return ok(name, f"come with AutoMat ({shipped[0].name})" + (f", {len(made)} more made here" if made else ""))
    if len(made) >= len(found.elements):
        return ok(name, f"{len(made)} elements, made here")
    return warning(
        name,
        f"{len(made)} of {len(found.elements)} elements have their energy with {found.name}; a run relaxes what it "
        "lacks, which takes up to minutes for each",
        f"automat references build --potential {found.path if ':' in found.name else found.name}",
    )
