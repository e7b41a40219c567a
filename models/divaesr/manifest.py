"""The plain text beside weights: what they are, where they come from, and their identity; read without torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).parent / "weights"
"""The weights that ship with the project."""

MANIFEST = "manifest.json"
FORMAT = 2


class WeightsError(ValueError):
    """The weights cannot be used; the message says why and what to do."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a folder of weights.

    Raises
    ------
    WeightsError
        If there is none that can be read.
    """
    try:
        content = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{folder}: no denoiser weights here ({error}); train some with: automat train denoiser"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or "files" not in content:
        raise WeightsError(f"{folder}: the weights are of another format; use those of this release or train anew")
    return content


def digest(folder: Path) -> str:
    """Identity of the weights, for cache keys and results."""
    files = read_manifest(folder)["files"]
    joined = "".join(f"{name}:{files[name]['sha256']}" for name in sorted(files))
    return hashlib.sha256(joined.encode()).hexdigest()
