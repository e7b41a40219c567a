"""Times as people say them."""

from __future__ import annotations


def age(seconds: float) -> str:
    """Say a span of time in its largest unit of which there are two."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
