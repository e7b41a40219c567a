"""Python and the installed packages, against what this project asks for and what is known to break."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from flows.doctor.finding import Finding, broken, ok

PROJECT = "automat-stem"

Installed = Callable[[str], str | None]
"""Version of a package, or None if it is not installed."""


@dataclass(frozen=True)
class Trap:
    """Versions that install without complaint and then break.

    Attributes
    ----------
    package, versions
        What, and which of it.
    why, remedy
        What breaks, and what to install instead.
    beside, beside_versions
        Only beside these versions of another package; ``python`` counts as one.
    """

    package: str
    versions: str
    why: str
    remedy: str
    beside: str = "python"
    beside_versions: str = ""


TRAPS = (
    Trap(
        "sqlalchemy",
        ">=2.1",
        "Prefect's scheduler fails: no schedule starts anything",
        "'sqlalchemy>=2.0,<2.1'",
        "prefect",
    ),
    Trap("fastapi", ">=0.151", "Prefect's server fails at import or start", "'fastapi>=0.139,<0.151'", "prefect"),
    Trap("certifi", "<2026.10.19", "Prefect 3.9 asks for a newer one", "'prefect==3.8.8'", "prefect", ">=3.9,<3.10"),
    Trap("prefect", "<3.8.4", "its retries ignore the jitter they are given", "'prefect>=3.8.4,<3.10'"),
    Trap("abtem", "<1.0.11", "it loses atoms of hexagonal cells and mis-scales iDPC", "'abtem>=1.0.11'"),
    Trap("mattersim", ">=1.2.4", "it needs Python 3.12", "--no-deps 'mattersim==1.2.3'", "python", "<3.12"),
)

CUDA_TWINS = ("torchvision", "torchaudio")
"""Packages that break lightning and mattersim at import when they are built for CUDA and torch is not."""


def installed_version(package: str) -> str | None:
    """Version of a package, or of Python."""
    if package == "python":
        return platform.python_version()
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def python(version: str = platform.python_version()) -> Finding:
    """The interpreter."""
    wanted = metadata.metadata(PROJECT)["Requires-Python"]
    if not SpecifierSet(wanted).contains(version, prereleases=True):
        return broken("Python", f"{version}, where {wanted} is needed", "make PYTHON=python3.12 install")
    return ok("Python", version)


def ranges(installed: Installed = installed_version) -> Finding:
    """Every package that the project requires: there, and within its range."""
    wanted = [Requirement(text) for text in metadata.requires(PROJECT) or ()]
    wanted = [each for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    wrong = [(each, installed(each.name)) for each in wanted if not _fits(each, installed(each.name))]
    if wrong:
        told = ", ".join(f"{each.name} {found or 'is missing'}" for each, found in wrong)
        asked = " ".join(f"'{each.name}{each.specifier}'" for each, _ in wrong)
        return broken("packages", f"outside their ranges: {told}", f"make install, or pip install {asked}")
    core = ", ".join(f"{name} {installed(name)}" for name in ("prefect", "torch", "abtem"))
    return ok("packages", f"{core} and {len(wanted) - 3} more, all within their ranges")


def _fits(requirement: Requirement, found: str | None) -> bool:
    return found is not None and requirement.specifier.contains(found, prereleases=True)


def traps(installed: Installed = installed_version) -> list[Finding]:
    """Combinations that are known to break."""
    hit = [trap for trap in TRAPS if _holds(trap.package, trap.versions, installed)]
    hit = [trap for trap in hit if _holds(trap.beside, trap.beside_versions, installed)]
    found = [
        broken("known traps", f"{trap.package} {installed(trap.package)}: {trap.why}", f"pip install {trap.remedy}")
        for trap in hit
    ]
    return found or [ok("known traps", f"none of the {len(TRAPS)} combinations known to break")]


def _holds(package: str, versions: str, installed: Installed) -> bool:
    found = installed(package)
    return found is not None and SpecifierSet(versions).contains(found, prereleases=True)


def twins(cuda: Callable[[str], bool | None] | None = None) -> Finding:
    """Packages that must be built for the same device as torch."""
    cuda = cuda or built_for_cuda
    wrong = [name for name in CUDA_TWINS if cuda(name) and cuda("torch") is False]
    if wrong:
        fault = f"{' and '.join(wrong)}: built for CUDA beside a torch that is not; lightning and mattersim fail"
        return broken("torch build", fault, f"pip uninstall {' '.join(wrong)}; AutoMat does not need it")
    return ok("torch build", {True: "CUDA", False: "CPU only", None: "unknown"}[cuda("torch")])


def built_for_cuda(package: str) -> bool | None:
    """Whether a sister of torch is built for CUDA, read without importing it; None if it is not installed."""
    try:
        text = (metadata.distribution(package).locate_file(f"{package}/version.py")).read_text()  # type: ignore[attr-defined]
    except (metadata.PackageNotFoundError, OSError):
        return None
    stated = re.search(r"^cuda\b[^=]*=\s*(\S+)", text, re.MULTILINE)
    return "+cpu" not in text if stated is None else stated[1] != "None"
