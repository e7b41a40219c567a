"""The content of a folder of files, to compare folders by."""

import hashlib
from pathlib import Path


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file but the lock, by name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
