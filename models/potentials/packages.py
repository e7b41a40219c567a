"""Find an installed package without importing it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from microscopy.errors import PotentialError


def package_folder(package: str, remedy: str) -> Path:
    """Folder of an installed package.

    Raises
    ------
    PotentialError
        If it is not installed; `remedy` says what to do.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise PotentialError(f"the package '{package}' is not installed; {remedy}")
    return Path(spec.origin).parent
